package edgeproof.edge;

/** Element types by NumPy's names, as the manifest writes them; {@link #OTHER} stands for one that Java cannot hold. */
public enum DType {
  INT8("int8", 1, Byte.MIN_VALUE, Byte.MAX_VALUE, true),
  UINT8("uint8", 1, 0, 255, true),
  INT16("int16", 2, Short.MIN_VALUE, Short.MAX_VALUE, true),
  UINT16("uint16", 2, 0, 65_535, true),
  INT32("int32", 4, Integer.MIN_VALUE, Integer.MAX_VALUE, true),
  INT64("int64", 8, Long.MIN_VALUE, Long.MAX_VALUE, false),
  BOOL("bool", 1, 0, 1, false),
  FLOAT32("float32", 4, 0, 0, false),
  FLOAT64("float64", 8, 0, 0, false),
  OTHER("", 0, 0, 0, false);

  /** NumPy's name. */
  public final String numpyName;

  /** Bytes of an element. */
  public final int bytes;

  final long lowest;
  final long highest;
  final boolean mayBeQuantized;

  DType(String numpyName, int bytes, long lowest, long highest, boolean mayBeQuantized) {
    this.numpyName = numpyName;
    this.bytes = bytes;
    this.lowest = lowest;
    this.highest = highest;
    this.mayBeQuantized = mayBeQuantized;
  }

  /** The type of a name. */
  public static DType of(String numpyName) {
    for (DType type : values()) {
      if (type != OTHER && type.numpyName.equals(numpyName)) {
        return type;
      }
    }
    return OTHER;
  }
}
