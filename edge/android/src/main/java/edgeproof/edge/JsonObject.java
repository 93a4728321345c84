package edgeproof.edge;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Takes the keys of one object, each once; what is missing, of another type or left over is an error that names it. */
final class JsonObject {
  /** Reads a value at a place. */
  interface Reading<V> {
    V read(Object value, String place);
  }

  /** Reads an object. */
  interface ObjectReading<V> {
    V read(JsonObject object);
  }

  private final Map<String, Object> content;
  private final String place;

  private JsonObject(Map<String, Object> content, String place) {
    this.content = new LinkedHashMap<>(content);
    this.place = place;
  }

  static JsonObject of(Object value, String place) {
    require(value instanceof Map, place, "an object", value);
    @SuppressWarnings("unchecked")
    Map<String, Object> content = (Map<String, Object>) value;
    return new JsonObject(content, place);
  }

  static void require(boolean holds, String key, String wanted, Object given) {
    if (!holds) {
      String shown = String.valueOf(given);
      shown = shown.length() <= 80 ? shown : shown.substring(0, 77) + "...";
      throw new EdgeproofException(
          "manifest: " + (key.isEmpty() ? "the document" : key) + " must be " + wanted + "; found " + shown + ". Publish the release again.");
    }
  }

  String at(String key) {
    return place.isEmpty() ? key : place + "." + key;
  }

  Object take(String key) {
    if (!content.containsKey(key)) {
      throw new EdgeproofException("manifest: the key " + at(key) + " is missing. Publish the release again.");
    }
    return content.remove(key);
  }

  String text(String key) {
    return asText(take(key), at(key));
  }

  String optionalText(String key) {
    Object value = take(key);
    return value == null ? null : asText(value, at(key));
  }

  long integer(String key) {
    return asInteger(take(key), at(key));
  }

  Long optionalInteger(String key) {
    Object value = take(key);
    return value == null ? null : (Long) asInteger(value, at(key));
  }

  double number(String key) {
    return asNumber(take(key), at(key));
  }

  Double optionalNumber(String key) {
    Object value = take(key);
    return value == null ? null : (Double) asNumber(value, at(key));
  }

  <V> List<V> items(String key, Reading<V> reading) {
    Object values = take(key);
    require(values instanceof List, at(key), "a list", values);
    List<V> items = new ArrayList<>();
    for (Object value : (List<?>) values) {
      items.add(reading.read(value, at(key) + "[" + items.size() + "]"));
    }
    return items;
  }

  <V> List<V> objects(String key, ObjectReading<V> reading) {
    return items(key, (value, where) -> readObject(value, where, reading));
  }

  <V> V child(String key, ObjectReading<V> reading) {
    return readObject(take(key), at(key), reading);
  }

  <V> V optionalChild(String key, ObjectReading<V> reading) {
    Object value = take(key);
    return value == null ? null : readObject(value, at(key), reading);
  }

  void finish() {
    if (!content.isEmpty()) {
      List<String> unknown = new ArrayList<>();
      for (String key : new TreeSet<>(content.keySet())) {
        unknown.add(at(key));
      }
      throw new EdgeproofException("manifest: unknown key " + String.join(", ", unknown) + " in this schema version. Update the app.");
    }
  }

  static String asText(Object value, String place) {
    require(value instanceof String, place, "a text", value);
    return (String) value;
  }

  static long asInteger(Object value, String place) {
    require(value instanceof BigInteger && ((BigInteger) value).bitLength() < 64, place, "an integer", value);
    return ((BigInteger) value).longValue();
  }

  static double asNumber(Object value, String place) {
    require(value instanceof Number, place, "a number", value);
    double number = ((Number) value).doubleValue();
    require(!(value instanceof BigInteger && Double.isInfinite(number)), place, "a number", value);
    return number;
  }

  private static <V> V readObject(Object value, String place, ObjectReading<V> reading) {
    JsonObject object = of(value, place);
    V document = reading.read(object);
    object.finish();
    return document;
  }
}
