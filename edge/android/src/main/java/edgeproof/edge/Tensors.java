package edgeproof.edge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The numbers that go into and come out of a quantized model, to the last bit as {@code edgeproof_edge.tensors} computes them, which
 * judged the model. Rules, in order: divide in double, round half to even, add the zero point, clip to the type's range, and only then
 * cast; NaN becomes the zero point. A plain cast truncates and wraps around: white turns black.
 */
public final class Tensors {
  private Tensors() {}

  /** The code of a real value. */
  public static long quantize(double value, TensorSpec spec) {
    requireCodes(spec);
    return code(value, spec.scale, spec.zeroPoint, spec.dtype.lowest, spec.dtype.highest);
  }

  /** The real value of a code, rounded once to float. */
  public static float dequantize(long code, TensorSpec spec) {
    requireCodes(spec);
    return (float) (((double) code - spec.zeroPoint) * spec.scale);
  }

  static long code(double value, double scale, int zeroPoint, long lowest, long highest) {
    if (Double.isNaN(value)) {
      return zeroPoint;
    }
    double code = Math.rint(value / scale) + zeroPoint;
    return (long) Math.max(lowest, Math.min(highest, code));
  }

  /** A direct buffer of a tensor's size, in the machine's byte order: what the interpreter takes without copying. */
  public static ByteBuffer buffer(TensorSpec spec) {
    return ByteBuffer.allocateDirect(spec.numElements() * width(spec)).order(ByteOrder.nativeOrder());
  }

  /**
   * Writes real values into a tensor's buffer, as codes where it is quantized.
   *
   * @param values {@code float[]}, {@code double[]}, {@code int[]}, {@code long[]}, {@code boolean[]}, or {@code byte[]}, which are pixels: 0
   *     to 255, without a sign.
   */
  public static void write(Object values, TensorSpec spec, ByteBuffer target) {
    int length = lengthOf(values, spec);
    if (length != spec.numElements()) {
      throw new EdgeproofException(
          "input '" + spec.name + "' takes " + spec.numElements() + " values " + spec + "; " + length + " were given. Give one example.");
    }
    target.clear();
    for (int index = 0; index < length; index++) {
      if (spec.isQuantized()) {
        put(target, spec.dtype, quantize(valueAt(values, index), spec));
      } else if (values instanceof long[]) {
        putPlain(target, spec, ((long[]) values)[index]); // a double holds no more than 53 bits
      } else {
        putPlain(target, spec, valueAt(values, index));
      }
    }
    target.flip();
  }

  /** Reads a tensor's buffer as real values. */
  public static float[] read(ByteBuffer source, TensorSpec spec) {
    float[] values = new float[spec.numElements()];
    ByteBuffer reading = source.duplicate().order(source.order());
    reading.clear();
    for (int index = 0; index < values.length; index++) {
      values[index] = spec.isQuantized() ? dequantize(get(reading, spec.dtype), spec) : getPlain(reading, spec);
    }
    return values;
  }

  private static void put(ByteBuffer target, DType dtype, long code) {
    switch (dtype.bytes) {
      case 1:
        target.put((byte) code);
        break;
      case 2:
        target.putShort((short) code);
        break;
      case 4:
        target.putInt((int) code);
        break;
      default:
        target.putLong(code);
    }
  }

  private static long get(ByteBuffer source, DType dtype) {
    switch (dtype) {
      case INT8:
        return source.get();
      case UINT8:
      case BOOL:
        return source.get() & 0xff;
      case INT16:
        return source.getShort();
      case UINT16:
        return source.getShort() & 0xffff;
      case INT32:
        return source.getInt();
      default:
        return source.getLong();
    }
  }

  private static void putPlain(ByteBuffer target, TensorSpec spec, double value) {
    if (spec.dtype == DType.FLOAT32) {
      target.putFloat((float) value);
    } else if (spec.dtype == DType.FLOAT64) {
      target.putDouble(value);
    } else {
      put(target, spec.dtype, whole(value, spec));
    }
  }

  private static void putPlain(ByteBuffer target, TensorSpec spec, long value) {
    if (spec.dtype == DType.FLOAT32 || spec.dtype == DType.FLOAT64) {
      putPlain(target, spec, (double) value);
    } else {
      put(target, spec.dtype, inRange(value, spec));
    }
  }

  private static float getPlain(ByteBuffer source, TensorSpec spec) {
    if (spec.dtype == DType.FLOAT32) {
      return source.getFloat();
    }
    return spec.dtype == DType.FLOAT64 ? (float) source.getDouble() : (float) get(source, spec.dtype);
  }

  private static long whole(double value, TensorSpec spec) {
    if (value != Math.rint(value) || Double.isInfinite(value)) {
      throw new EdgeproofException("input '" + spec.name + "' holds " + spec.dtypeName + "; " + value + " is no whole number.");
    }
    return inRange((long) value, spec);
  }

  private static long inRange(long value, TensorSpec spec) {
    if (value < spec.dtype.lowest || value > spec.dtype.highest) {
      throw new EdgeproofException("input '" + spec.name + "' holds " + spec.dtypeName + ", which has no " + value + ".");
    }
    return value;
  }

  private static int lengthOf(Object values, TensorSpec spec) {
    if (values instanceof float[]) {
      return ((float[]) values).length;
    } else if (values instanceof byte[]) {
      return ((byte[]) values).length;
    } else if (values instanceof int[]) {
      return ((int[]) values).length;
    } else if (values instanceof long[]) {
      return ((long[]) values).length;
    } else if (values instanceof double[]) {
      return ((double[]) values).length;
    } else if (values instanceof boolean[]) {
      return ((boolean[]) values).length;
    }
    String type = values == null ? "null" : values.getClass().getSimpleName();
    throw new EdgeproofException("input '" + spec.name + "' takes an array of numbers; " + type + " was given.");
  }

  private static double valueAt(Object values, int index) {
    if (values instanceof float[]) {
      return ((float[]) values)[index];
    } else if (values instanceof byte[]) {
      return ((byte[]) values)[index] & 0xff;
    } else if (values instanceof int[]) {
      return ((int[]) values)[index];
    } else if (values instanceof long[]) {
      return ((long[]) values)[index];
    } else if (values instanceof double[]) {
      return ((double[]) values)[index];
    }
    return ((boolean[]) values)[index] ? 1.0 : 0.0;
  }

  private static int width(TensorSpec spec) {
    if (spec.dtype == DType.OTHER) {
      throw new EdgeproofException("tensor '" + spec.name + "' holds " + spec.dtypeName + ", which has no buffer here.");
    }
    return spec.dtype.bytes;
  }

  private static void requireCodes(TensorSpec spec) {
    if (!spec.isQuantized() || !spec.dtype.mayBeQuantized) {
      throw new EdgeproofException(
          "tensor '" + spec.name + "' holds " + spec.dtypeName + " with scale " + spec.scale + ", not quantized codes; pass its values as they are.");
    }
  }
}
