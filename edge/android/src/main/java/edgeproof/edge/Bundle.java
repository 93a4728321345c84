package edgeproof.edge;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/**
 * A release: one file as it is downloaded, or a directory of its files. Rules as in {@code edgeproof_edge.bundle}: a header of the archive
 * must be, byte for byte, the one that Edgeproof packs; a release is what its manifest says, each file with its size and SHA-256, and
 * nothing else. The signature is checked before, by whoever downloads: a bundle's own SHA-256 is what TUF signs.
 */
public final class Bundle {
  public static final String MANIFEST_FILE = "manifest.json";
  public static final String MODEL_FILE = "model.tflite";
  public static final String LABELS_FILE = "labels.txt";

  /** What a device runs, sorted: these make a release what it is; everything else is evidence. */
  private static final String[] PAYLOAD_FILES = {LABELS_FILE, MODEL_FILE};

  private static final int BLOCK = 512;
  private static final int PIECE = 1 << 20;
  private static final long MAX_BUNDLE_BYTES = 1L << 31;
  private static final int MAX_MANIFEST_BYTES = 16 << 20;
  private static final Pattern FILE_NAME = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9._-]*");

  private static final class Member {
    final String name;
    final long size;
    final long offset;

    Member(String name, long size, long offset) {
      this.name = name;
      this.size = size;
      this.offset = offset;
    }
  }

  private Bundle() {}

  /** Gives pieces of a file to whoever wants them. */
  private interface Sink {
    void take(byte[] bytes, int length) throws IOException;
  }

  /**
   * Unpacks a bundle into a directory that is not there yet, piece by piece. Every file is on the disk before the directory gets its name.
   *
   * @return its manifest
   */
  public static Manifest unpack(File archive, File directory) throws IOException {
    File staging = new File(directory.getPath() + ".part");
    remove(staging);
    if (directory.exists() || !staging.mkdirs()) {
      throw new IOException(directory + " is there already, or its parent cannot be written.");
    }
    Manifest manifest;
    try (RandomAccessFile file = new RandomAccessFile(archive, "r")) {
      List<Member> members = members(file);
      manifest = manifestAmong(file, members);
      for (Member member : members) {
        String digest = copy(file, member, new File(staging, member.name));
        if (!member.name.equals(MANIFEST_FILE)) {
          requireDigest(manifest.file(member.name), digest);
        }
      }
    }
    if (!staging.renameTo(directory)) {
      throw new IOException(staging + " cannot be renamed to " + directory + ".");
    }
    return manifest;
  }

  /** Reads the manifest of an unpacked release, and holds every file against it. */
  public static Manifest verify(File directory) throws IOException {
    Manifest manifest = Manifest.read(contentOf(new File(directory, MANIFEST_FILE), MAX_MANIFEST_BYTES));
    for (Manifest.FileEntry entry : manifest.files) {
      File file = new File(directory, entry.name);
      if (!file.isFile() || file.length() != entry.sizeBytes) {
        throw new EdgeproofException(file + " is not there with the " + entry.sizeBytes + " bytes of its manifest. Fetch the release again.");
      }
      requireDigest(entry, sha256(file));
    }
    return manifest;
  }

  /** The hash that tells one model from another: SHA-256 over a line {@code <digest>  <name>} for each file that a device runs. */
  public static String contentSha256(Manifest manifest) {
    Map<String, String> digests = new TreeMap<>();
    for (Manifest.FileEntry entry : manifest.files) {
      if (Arrays.asList(PAYLOAD_FILES).contains(entry.name)) {
        digests.put(entry.name, entry.sha256);
      }
    }
    StringBuilder lines = new StringBuilder();
    for (Map.Entry<String, String> entry : digests.entrySet()) {
      lines.append(entry.getValue()).append("  ").append(entry.getKey()).append('\n');
    }
    return hex(newSha256().digest(lines.toString().getBytes(StandardCharsets.UTF_8)));
  }

  /** SHA-256 of a file, in hex: of a bundle's file it is what the signed metadata names. */
  public static String sha256(File file) throws IOException {
    MessageDigest digest = newSha256();
    try (RandomAccessFile source = new RandomAccessFile(file, "r")) {
      pieces(source, 0, source.length(), (bytes, length) -> digest.update(bytes, 0, length));
    }
    return hex(digest.digest());
  }

  private static List<Member> members(RandomAccessFile file) throws IOException {
    long size = file.length();
    if (size > MAX_BUNDLE_BYTES) {
      throw new EdgeproofException("a bundle of " + size + " bytes is beyond the limit of " + MAX_BUNDLE_BYTES + ".");
    }
    List<Member> members = new ArrayList<>();
    long offset = 0;
    byte[] header = new byte[BLOCK];
    while (true) {
      if (offset + BLOCK > size) {
        throw new EdgeproofException("the bundle is no archive that Edgeproof packed: it does not end in empty blocks.");
      }
      file.seek(offset);
      file.readFully(header);
      if (isZero(header, BLOCK)) {
        break;
      }
      Member member = member(header, offset + BLOCK);
      if (member.offset + member.size > size) {
        throw new EdgeproofException("the bundle is cut off in '" + member.name + "'.");
      }
      if (!members.isEmpty() && members.get(members.size() - 1).name.compareTo(member.name) >= 0) {
        throw new EdgeproofException("'" + member.name + "' in the bundle is there twice, or not in the order of names.");
      }
      members.add(member);
      offset = member.offset + (member.size + BLOCK - 1) / BLOCK * BLOCK;
    }
    pieces(
        file,
        offset,
        size - offset,
        (bytes, length) -> {
          if (!isZero(bytes, length)) {
            throw new EdgeproofException("the bundle is no archive that Edgeproof packed: it does not end in empty blocks.");
          }
        });
    return members;
  }

  private static Member member(byte[] header, long offset) {
    int length = 0;
    while (length < 100 && header[length] != 0) {
      length++;
    }
    String name = new String(header, 0, length, StandardCharsets.ISO_8859_1);
    if (!FILE_NAME.matcher(name).matches()) {
      throw new EdgeproofException("'" + name + "' cannot be a file of a bundle.");
    }
    long size = octal(header);
    if (size < 0 || !Arrays.equals(header, header(name, size))) {
      throw new EdgeproofException("'" + name + "' in the bundle is no plain file as Edgeproof packs it. Publish the release again.");
    }
    return new Member(name, size, offset);
  }

  private static long octal(byte[] header) {
    long size = 0;
    for (int index = 124; index < 135; index++) {
      if (header[index] < '0' || header[index] > '7') {
        return -1;
      }
      size = size * 8 + header[index] - '0';
    }
    return size;
  }

  private static byte[] header(String name, long size) {
    byte[] header = new byte[BLOCK];
    put(header, 0, name);
    put(header, 100, "0000644\0" + "0000000\0" + "0000000\0" + octal(size, 11) + "\0" + "00000000000\0");
    put(header, 156, "0");
    put(header, 257, "ustar\0" + "00");
    put(header, 148, "        ");
    int checksum = 0;
    for (byte value : header) {
      checksum += value & 0xff;
    }
    put(header, 148, octal(checksum, 6) + "\0 ");
    return header;
  }

  private static void put(byte[] header, int offset, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(bytes, 0, header, offset, bytes.length);
  }

  private static String octal(long value, int digits) {
    StringBuilder text = new StringBuilder(Long.toOctalString(value));
    while (text.length() < digits) {
      text.insert(0, '0');
    }
    return text.toString();
  }

  private static Manifest manifestAmong(RandomAccessFile file, List<Member> members) throws IOException {
    Map<String, Member> byName = new HashMap<>();
    for (Member member : members) {
      byName.put(member.name, member);
    }
    Member own = byName.remove(MANIFEST_FILE);
    if (own == null || own.size > MAX_MANIFEST_BYTES) {
      throw new EdgeproofException("the bundle has no " + MANIFEST_FILE + " of at most " + MAX_MANIFEST_BYTES + " bytes. Publish the release again.");
    }
    byte[] text = new byte[(int) own.size];
    file.seek(own.offset);
    file.readFully(text);
    Manifest manifest = Manifest.read(text);
    boolean isWhole = manifest.files.size() == byName.size();
    for (Manifest.FileEntry entry : manifest.files) {
      Member member = byName.get(entry.name);
      isWhole &= member != null && member.size == entry.sizeBytes;
    }
    if (!isWhole) {
      throw new EdgeproofException("the bundle and its manifest differ: it holds " + byName.keySet() + ". Publish the release again.");
    }
    return manifest;
  }

  private static String copy(RandomAccessFile source, Member member, File target) throws IOException {
    MessageDigest digest = newSha256();
    try (FileOutputStream stream = new FileOutputStream(target)) {
      pieces(
          source,
          member.offset,
          member.size,
          (bytes, length) -> {
            digest.update(bytes, 0, length);
            stream.write(bytes, 0, length);
          });
      stream.getFD().sync();
    }
    return hex(digest.digest());
  }

  private static void pieces(RandomAccessFile file, long offset, long size, Sink sink) throws IOException {
    byte[] piece = new byte[(int) Math.min(PIECE, Math.max(1, size))];
    file.seek(offset);
    for (long left = size; left > 0; ) {
      int length = (int) Math.min(piece.length, left);
      file.readFully(piece, 0, length);
      sink.take(piece, length);
      left -= length;
    }
  }

  static byte[] contentOf(File file, int maximum) throws IOException {
    try (RandomAccessFile source = new RandomAccessFile(file, "r")) {
      if (source.length() > maximum) {
        throw new EdgeproofException(file + " has " + source.length() + " bytes; " + maximum + " are allowed.");
      }
      byte[] content = new byte[(int) source.length()];
      source.readFully(content);
      return content;
    }
  }

  private static boolean isZero(byte[] bytes, int length) {
    for (int index = 0; index < length; index++) {
      if (bytes[index] != 0) {
        return false;
      }
    }
    return true;
  }

  private static void requireDigest(Manifest.FileEntry entry, String digest) {
    if (!digest.equals(entry.sha256)) {
      throw new EdgeproofException(entry.name + " has SHA-256 " + digest + "; its manifest says " + entry.sha256 + ". Fetch the release again.");
    }
  }

  private static void remove(File directory) {
    File[] files = directory.listFiles();
    for (File file : files == null ? new File[0] : files) {
      file.delete();
    }
    directory.delete();
  }

  private static MessageDigest newSha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException(error); // every Java has it
    }
  }

  private static String hex(byte[] bytes) {
    StringBuilder text = new StringBuilder(2 * bytes.length);
    for (byte value : bytes) {
      text.append(Character.forDigit((value >> 4) & 0xf, 16)).append(Character.forDigit(value & 0xf, 16));
    }
    return text.toString();
  }
}
