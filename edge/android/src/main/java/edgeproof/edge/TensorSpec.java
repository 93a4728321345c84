package edgeproof.edge;

import java.util.Arrays;

/** What goes into or comes out of a model: a code {@code q} stands for {@code (q - zeroPoint) * scale}. */
public final class TensorSpec {
  public final String name;

  /** The type's name, as the manifest has it. */
  public final String dtypeName;

  public final DType dtype;

  /** Real value of one step; 0 for a tensor that is not quantized. A double, as everywhere in Edgeproof. */
  public final double scale;

  /** The code that stands for 0. */
  public final int zeroPoint;

  private final int[] shape;

  public TensorSpec(String name, int[] shape, String dtypeName, double scale, int zeroPoint) {
    this.name = name;
    this.shape = shape.clone();
    this.dtypeName = dtypeName;
    this.dtype = DType.of(dtypeName);
    this.scale = scale;
    this.zeroPoint = zeroPoint;
  }

  /** Dimensions, batch first; -1 where the graph leaves the size open. */
  public int[] shape() {
    return shape.clone();
  }

  /** Whether the elements are codes. */
  public boolean isQuantized() {
    return scale != 0.0;
  }

  /** How many elements there are where every open size is 1. */
  public int numElements() {
    long elements = 1;
    for (int size : shape) {
      elements *= Math.max(1, size);
      if (elements > Integer.MAX_VALUE) {
        throw new EdgeproofException("tensor '" + name + "' has more elements than a buffer holds: " + Arrays.toString(shape) + ".");
      }
    }
    return (int) elements;
  }

  @Override
  public String toString() {
    return name + " " + dtypeName + Arrays.toString(shape) + (isQuantized() ? " (code - " + zeroPoint + ") * " + scale : "");
  }
}
