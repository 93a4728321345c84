package edgeproof.edge;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

/** Codes, real values and answers are those of NumPy, to the last bit. */
class NumericsTest {
  private static final long MIN_VALUES = 100_000;

  @Test
  void codesAndValuesAreThoseOfNumPy() throws IOException {
    long compared = 0;
    try (DataInputStream vectors = Vectors.open("tensor-math.bin")) {
      for (int specs = vectors.readInt(); specs > 0; specs--) {
        String dtype = vectors.readUTF();
        TensorSpec spec = new TensorSpec("x", new int[] {1}, dtype, vectors.readDouble(), vectors.readInt());
        for (int left = vectors.readInt(); left > 0; left--, compared++) {
          double value = vectors.readDouble();
          long code = vectors.readLong();
          int bits = vectors.readInt();
          assertEquals(code, Tensors.quantize(value, spec), () -> "code of " + value + " in " + spec);
          int ours = Float.floatToRawIntBits(Tensors.dequantize(code, spec));
          assertEquals(bits, ours, () -> "value of " + code + " in " + spec);
        }
      }
    }
    System.out.println("compared with NumPy: " + compared + " values, each both ways");
    assertTrue(compared >= MIN_VALUES, "values compared: " + compared);
  }

  @Test
  void answersAreThoseOfNumPy() throws IOException {
    try (DataInputStream vectors = Vectors.open("answers.bin")) {
      for (int rows = vectors.readInt(); rows > 0; rows--) {
        float[] scores = new float[vectors.readInt()];
        for (int index = 0; index < scores.length; index++) {
          scores[index] = vectors.readFloat();
        }
        double threshold = vectors.readDouble();
        assertEquals(vectors.readInt(), Answers.answeredClass(scores, threshold));
        int[] top = new int[vectors.readInt()];
        for (int rank = 0; rank < top.length; rank++) {
          top[rank] = vectors.readInt();
        }
        assertArrayEquals(top, Answers.top(scores, top.length));
      }
    }
  }

  @Test
  void tiesRoundToEvenAndWhatIsBeyondTheRangeClips() {
    TensorSpec spec = new TensorSpec("x", new int[] {6}, "int8", 1.0, 0);
    ByteBuffer buffer = Tensors.buffer(spec);
    Tensors.write(new float[] {0.5f, 1.5f, -0.5f, 1e30f, Float.NEGATIVE_INFINITY, Float.NaN}, spec, buffer);
    byte[] codes = new byte[6];
    buffer.get(codes);
    assertArrayEquals(new byte[] {0, 2, 0, 127, -128, 0}, codes);
    assertArrayEquals(new float[] {0, 2, 0, 127, -128, 0}, Tensors.read(buffer, spec));
  }

  @Test
  void pixelsHaveNoSign() {
    TensorSpec spec = new TensorSpec("x", new int[] {1, 3}, "float32", 0.0, 0);
    ByteBuffer buffer = Tensors.buffer(spec);
    Tensors.write(new byte[] {0, (byte) 200, (byte) 255}, spec, buffer);
    assertArrayEquals(new float[] {0, 200, 255}, Tensors.read(buffer, spec));
  }

  @Test
  void aWrongNumberOfValuesIsRefusedWithBothNumbers() {
    TensorSpec spec = new TensorSpec("image", new int[] {1, 224, 224, 3}, "int8", 1.0, -128);
    String refusal = Vectors.refusal(() -> Tensors.write(new float[10], spec, Tensors.buffer(spec)));
    assertTrue(refusal.contains("takes 150528 values") && refusal.contains("10 were given"), refusal);
    assertTrue(Vectors.refusal(() -> Tensors.write("x", spec, Tensors.buffer(spec))).contains("String was given"));
  }

  @Test
  void tokenIdsMustBeWholeAndFit() {
    TensorSpec spec = new TensorSpec("ids", new int[] {1}, "int32", 0.0, 0);
    assertTrue(Vectors.refusal(() -> Tensors.write(new double[] {1.5}, spec, Tensors.buffer(spec))).contains("no whole number"));
    assertTrue(Vectors.refusal(() -> Tensors.write(new long[] {1L << 40}, spec, Tensors.buffer(spec))).contains("which has no"));
    assertTrue(Vectors.refusal(() -> Tensors.quantize(1.0, spec)).contains("not quantized codes"));
  }
}
