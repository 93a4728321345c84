package edgeproof.edge;

import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON without a library, as strict as {@code edgeproof_edge.manifest.json_reader}: no key twice, no NaN, nothing after the end. Objects
 * become {@code Map}, lists {@code List}, whole numbers {@code BigInteger}, others {@code Double}.
 */
final class Json {
  private static final int MAX_DEPTH = 200;

  private final String text;
  private int at;
  private int depth;

  private Json(String text) {
    this.text = text;
  }

  static Object parse(byte[] utf8) {
    String text = decoded(utf8);
    Json json = new Json(text.startsWith("\ufeff") ? text.substring(1) : text); // some editors begin files with this mark
    Object value = json.value();
    json.space();
    if (json.at != json.text.length()) {
      throw json.wrong("something follows its end");
    }
    return value;
  }

  private static String decoded(byte[] utf8) {
    try {
      CharBuffer text =
          StandardCharsets.UTF_8
              .newDecoder()
              .onMalformedInput(CodingErrorAction.REPORT)
              .onUnmappableCharacter(CodingErrorAction.REPORT)
              .decode(ByteBuffer.wrap(utf8));
      return text.toString();
    } catch (CharacterCodingException error) {
      throw new EdgeproofException("manifest: not JSON: it is not UTF-8. Check that the file is a manifest.json.", error);
    }
  }

  private Object value() {
    space();
    if (++depth > MAX_DEPTH) {
      throw wrong("it is nested too deeply");
    }
    Object value;
    char first = peek();
    if (first == '{') {
      value = object();
    } else if (first == '[') {
      value = list();
    } else if (first == '"') {
      value = string();
    } else if (first == '-' || (first >= '0' && first <= '9')) {
      value = number();
    } else {
      value = word();
    }
    depth--;
    return value;
  }

  private Map<String, Object> object() {
    Map<String, Object> content = new LinkedHashMap<>();
    at++;
    space();
    if (peek() == '}') {
      at++;
      return content;
    }
    while (true) {
      space();
      String key = string();
      space();
      take(':');
      if (content.put(key, boxed(value())) != null) {
        throw wrong("an object has the same key twice");
      }
      space();
      if (peek() == '}') {
        at++;
        return unboxed(content);
      }
      take(',');
    }
  }

  /** A map tells a key with null from none only if null is something. */
  private static Object boxed(Object value) {
    return value == null ? Json.class : value;
  }

  private static Map<String, Object> unboxed(Map<String, Object> content) {
    for (Map.Entry<String, Object> entry : content.entrySet()) {
      if (entry.getValue() == Json.class) {
        entry.setValue(null);
      }
    }
    return content;
  }

  private List<Object> list() {
    List<Object> items = new ArrayList<>();
    at++;
    space();
    if (peek() == ']') {
      at++;
      return items;
    }
    while (true) {
      items.add(value());
      space();
      if (peek() == ']') {
        at++;
        return items;
      }
      take(',');
    }
  }

  private String string() {
    take('"');
    StringBuilder characters = new StringBuilder();
    while (true) {
      char next = peek();
      at++;
      if (next == '"') {
        return characters.toString();
      } else if (next == '\\') {
        characters.append(escaped());
      } else if (next < ' ') {
        throw wrong("a text holds a control character");
      } else {
        characters.append(next);
      }
    }
  }

  private char escaped() {
    char kind = peek();
    at++;
    int position = "\"\\/bfnrt".indexOf(kind);
    if (position >= 0) {
      return "\"\\/\b\f\n\r\t".charAt(position);
    }
    if (kind != 'u' || at + 4 > text.length()) {
      throw wrong("a text has an escape that JSON does not know");
    }
    int code = 0;
    for (int end = at + 4; at < end; at++) {
      int digit = Character.digit(text.charAt(at), 16);
      if (digit < 0 || text.charAt(at) > 'f') {
        throw wrong("a text has an escape that JSON does not know");
      }
      code = code * 16 + digit;
    }
    return (char) code;
  }

  private Object number() {
    int start = at;
    if (peek() == '-') {
      at++;
    }
    if (peek() == '0') {
      at++;
    } else {
      digits();
    }
    boolean isWhole = true;
    if (at < text.length() && text.charAt(at) == '.') {
      isWhole = false;
      at++;
      digits();
    }
    if (at < text.length() && (text.charAt(at) == 'e' || text.charAt(at) == 'E')) {
      isWhole = false;
      at++;
      if (peek() == '+' || peek() == '-') {
        at++;
      }
      digits();
    }
    String number = text.substring(start, at);
    return isWhole ? new BigInteger(number) : (Object) Double.valueOf(number);
  }

  private void digits() {
    int start = at;
    while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
      at++;
    }
    if (at == start) {
      throw wrong("a number has no digits");
    }
  }

  private Object word() {
    if (text.startsWith("true", at)) {
      at += 4;
      return Boolean.TRUE;
    } else if (text.startsWith("false", at)) {
      at += 5;
      return Boolean.FALSE;
    } else if (text.startsWith("null", at)) {
      at += 4;
      return null;
    }
    throw wrong("a value is missing");
  }

  private void space() {
    while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  private char peek() {
    if (at >= text.length()) {
      throw wrong("it ends too early");
    }
    return text.charAt(at);
  }

  private void take(char wanted) {
    if (peek() != wanted) {
      throw wrong("'" + wanted + "' is missing");
    }
    at++;
  }

  private EdgeproofException wrong(String reason) {
    return new EdgeproofException("manifest: not JSON: " + reason + " at character " + at + ". Check that the file is a manifest.json.");
  }
}
