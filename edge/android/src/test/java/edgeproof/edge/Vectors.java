package edgeproof.edge;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import org.junit.jupiter.api.Assumptions;

/** What a Python test wrote: values with NumPy's results, bundles, manifests. Where it was not run, tests that need it skip. */
final class Vectors {
  private Vectors() {}

  static File file(String name) {
    String directory = System.getProperty("edgeproof.vectors", "");
    Assumptions.assumeFalse(directory.isEmpty(), "NumPy's results are not here: run `make test-android` in the repository");
    return new File(directory, name);
  }

  static DataInputStream open(String name) throws IOException {
    return new DataInputStream(new BufferedInputStream(new FileInputStream(file(name)), 1 << 20));
  }

  static String refusal(Runnable action) {
    try {
      action.run();
      return null;
    } catch (EdgeproofException error) {
      return error.getMessage();
    }
  }
}
