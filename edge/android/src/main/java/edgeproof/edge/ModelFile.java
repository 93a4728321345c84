package edgeproof.edge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What a .tflite file says without being run: how many operators its main subgraph has. */
public final class ModelFile {
  private static final int SUBGRAPHS = 2;
  private static final int OPERATORS = 3;

  private ModelFile() {}

  /** Operators of the main subgraph. */
  public static int numOperators(ByteBuffer model) {
    ByteBuffer bytes = model.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    try {
      int start = bytes.position();
      int root = start + bytes.getInt(start);
      int subgraphs = vector(bytes, root, SUBGRAPHS);
      int main = subgraphs + 4 + bytes.getInt(subgraphs + 4);
      return bytes.getInt(vector(bytes, main, OPERATORS));
    } catch (IndexOutOfBoundsException error) {
      throw new EdgeproofException("the model is no TFLite file, or a damaged one. Fetch the release again.", error);
    }
  }

  private static int vector(ByteBuffer bytes, int table, int field) {
    int virtualTable = table - bytes.getInt(table);
    int entry = 4 + 2 * field;
    int offset = entry < (bytes.getShort(virtualTable) & 0xffff) ? bytes.getShort(virtualTable + entry) & 0xffff : 0;
    if (offset == 0) {
      throw new EdgeproofException("the model has no graph. Fetch the release again.");
    }
    int position = table + offset;
    return position + bytes.getInt(position);
  }
}
