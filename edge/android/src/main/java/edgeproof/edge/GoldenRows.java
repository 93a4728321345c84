package edgeproof.edge;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** The golden vectors of a release, {@code golden.npz}: NumPy's own format, read without NumPy. */
public final class GoldenRows {
  private static final Pattern HEADER =
      Pattern.compile("\\{'descr': '([<|])([fiub])([1248])', 'fortran_order': False, 'shape': \\(([0-9, ]*)\\), \\}\\s*");
  private static final int MAX_BYTES = 64 << 20;

  private final Map<String, double[]> arrays;
  private final int numExamples;

  private GoldenRows(Map<String, double[]> arrays, int numExamples) {
    this.arrays = arrays;
    this.numExamples = numExamples;
  }

  /** Reads the golden vectors that a manifest names. */
  public static GoldenRows read(File file, Manifest manifest) throws IOException {
    try (InputStream stream = new FileInputStream(file)) {
      return read(stream, manifest);
    }
  }

  static GoldenRows read(InputStream stream, Manifest manifest) throws IOException {
    Map<String, double[]> arrays = new HashMap<>();
    ZipInputStream zip = new ZipInputStream(stream);
    for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
      String name = entry.getName();
      if (name.endsWith(".npy")) {
        arrays.put(name.substring(0, name.length() - 4), array(content(zip, name), name));
      }
    }
    GoldenRows rows = new GoldenRows(arrays, manifest.golden.numExamples);
    for (Manifest.TensorEntry input : manifest.inputs) {
      rows.require("input:" + input.spec.name);
    }
    rows.require("output:" + manifest.golden.output);
    return rows;
  }

  /** A row of an input, in real-world units. */
  public double[] input(String name, int row) {
    return row("input:" + name, row);
  }

  /** A row of an output, in real-world units. */
  public double[] output(String name, int row) {
    return row("output:" + name, row);
  }

  private double[] row(String key, int row) {
    double[] array = require(key);
    int length = array.length / numExamples;
    double[] values = new double[length];
    System.arraycopy(array, row * length, values, 0, length);
    return values;
  }

  private double[] require(String key) {
    double[] array = arrays.get(key);
    if (array == null || array.length % numExamples != 0) {
      throw new EdgeproofException("the golden vectors hold no " + numExamples + " rows of '" + key + "'. Publish the release again.");
    }
    return array;
  }

  private static byte[] content(InputStream stream, String name) throws IOException {
    ByteArrayOutputStream content = new ByteArrayOutputStream();
    byte[] piece = new byte[1 << 16];
    for (int length = stream.read(piece); length >= 0; length = stream.read(piece)) {
      content.write(piece, 0, length);
      if (content.size() > MAX_BYTES) {
        throw new EdgeproofException("the golden vectors '" + name + "' are larger than " + MAX_BYTES + " bytes.");
      }
    }
    return content.toByteArray();
  }

  private static double[] array(byte[] npy, String name) {
    ByteBuffer bytes = ByteBuffer.wrap(npy).order(ByteOrder.LITTLE_ENDIAN);
    if (npy.length < 10 || (npy[0] & 0xff) != 0x93 || !new String(npy, 1, 5, StandardCharsets.US_ASCII).equals("NUMPY")) {
      throw new EdgeproofException("the golden vectors '" + name + "' are no .npy array. Publish the release again.");
    }
    int start = npy[6] == 1 ? 10 : 12;
    int length = npy[6] == 1 ? bytes.getShort(8) & 0xffff : bytes.getInt(8);
    Matcher header = HEADER.matcher(new String(npy, start, Math.min(length, npy.length - start), StandardCharsets.US_ASCII));
    if (!header.matches()) {
      throw new EdgeproofException("the golden vectors '" + name + "' hold an array that this app does not read.");
    }
    int width = Integer.parseInt(header.group(3));
    int elements = (npy.length - start - length) / width;
    double[] values = new double[elements];
    bytes.position(start + length);
    for (int index = 0; index < elements; index++) {
      values[index] = value(bytes, header.group(2).charAt(0), width);
    }
    return values;
  }

  private static double value(ByteBuffer bytes, char kind, int width) {
    if (kind == 'f') {
      return width == 4 ? bytes.getFloat() : bytes.getDouble();
    }
    long value = width == 1 ? bytes.get() : width == 2 ? bytes.getShort() : width == 4 ? bytes.getInt() : bytes.getLong();
    return kind == 'i' || width == 8 ? value : value & ((1L << 8 * width) - 1);
  }
}
