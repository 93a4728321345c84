package edgeproof.edge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Manifests and bundles are taken and refused as Python does. */
class ReleaseTest {
  @Test
  void manifestsAreTakenAndRefusedAsPythonDoes() throws IOException {
    int taken = 0;
    int refused = 0;
    try (DataInputStream vectors = Vectors.open("manifests.bin")) {
      for (int manifests = vectors.readInt(); manifests > 0; manifests--) {
        boolean isTaken = vectors.readBoolean();
        byte[] text = new byte[vectors.readInt()];
        vectors.readFully(text);
        String refusal = Vectors.refusal(() -> Manifest.read(text));
        assertEquals(isTaken, refusal == null, () -> refusal + "\n" + new String(text, StandardCharsets.UTF_8));
        taken += isTaken ? 1 : 0;
        refused += isTaken ? 0 : 1;
      }
    }
    System.out.println("manifests as Python reads them: " + taken + " taken, " + refused + " refused");
    assertTrue(taken > 0 && refused > 0);
  }

  @Test
  void bundlesAreTakenAndRefusedAsPythonDoes(@TempDir File directory) throws IOException {
    File archive = new File(directory, "bundle.tar");
    int refused = 0;
    try (DataInputStream vectors = Vectors.open("bundles.bin")) {
      for (int bundles = vectors.readInt(); bundles > 0; bundles--) {
        String content = vectors.readUTF();
        byte[] bytes = new byte[vectors.readInt()];
        vectors.readFully(bytes);
        try (FileOutputStream stream = new FileOutputStream(archive)) {
          stream.write(bytes);
        }
        File target = new File(directory, "release-" + bundles);
        String refusal = refusal(archive, target);
        if (content.isEmpty()) {
          assertFalse(refusal == null, "a damaged bundle was taken");
          assertFalse(target.exists());
          refused++;
        } else {
          assertNull(refusal);
          assertEquals(content, Bundle.contentSha256(Bundle.verify(target)));
        }
      }
    }
    System.out.println("damaged bundles refused: " + refused);
    assertTrue(refused > 0);
  }

  @Test
  void aFileThatChangedOnTheDiskIsNoticed(@TempDir File directory) throws IOException {
    File release = new File(directory, "release");
    Bundle.unpack(Vectors.file("int8.tar"), release);
    File model = new File(release, Bundle.MODEL_FILE);
    try (FileOutputStream stream = new FileOutputStream(model, true)) {
      stream.write(0);
    }
    assertTrue(Vectors.refusal(() -> verify(release)).contains("is not there with the"));
    assertTrue(model.delete());
    assertTrue(Vectors.refusal(() -> verify(release)).contains("is not there with the"));
  }

  @Test
  void operatorsAreCounted() throws IOException {
    try (DataInputStream vectors = Vectors.open("operators.bin")) {
      for (int models = vectors.readInt(); models > 0; models--) {
        File model = new File(vectors.readUTF());
        int operators = vectors.readInt();
        try (FileInputStream stream = new FileInputStream(model)) {
          FileChannel channel = stream.getChannel();
          assertEquals(operators, ModelFile.numOperators(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size())), model.getName());
        }
      }
    }
  }

  private static String refusal(File archive, File target) throws IOException {
    try {
      Bundle.unpack(archive, target);
      return null;
    } catch (EdgeproofException error) {
      return error.getMessage();
    }
  }

  private static void verify(File release) {
    try {
      Bundle.verify(release);
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }
}
