package edgeproof.edge;

import static edgeproof.edge.JsonObject.require;

import java.math.BigInteger;
import java.text.ParseException;
import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.TimeZone;
import java.util.regex.Pattern;

/**
 * The manifest of a release, {@code manifest.json}: what a device must know about a model before it runs it. Read as strictly as
 * {@code edgeproof_edge.manifest} does: every key of its schema version must be there and no other, and what breaks a rule is refused by
 * name. One difference: a whole number that 64 bits do not hold is refused. A test holds both readers against each other on thousands of
 * damaged manifests.
 */
public final class Manifest {
  private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
  private static final Pattern FILE_NAME = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9._-]*");
  private static final Pattern METRIC = Pattern.compile("top[1-9][0-9]*|f1|auc|mae|rmse");
  private static final Pattern DECIMAL = Pattern.compile("[0-9]+(\\.[0-9]+)?");
  private static final Pattern RATIO = Pattern.compile("[0-9]+/[0-9]+|[0-9]+(\\.[0-9]+)?");
  private static final List<String> RESIZES = Arrays.asList("area", "bilinear", "nearest");
  private static final String TOP1 = "top1";

  /** A file of the release: its plain name, the SHA-256 of its bytes in hex, its size. */
  public static final class FileEntry {
    public final String name;
    public final String sha256;
    public final long sizeBytes;

    FileEntry(JsonObject object) {
      name = object.text("name");
      sha256 = object.text("sha256");
      sizeBytes = object.integer("size_bytes");
    }
  }

  /** An input or output. Whatever the manifest does not say is null. */
  public static final class TensorEntry {
    public final TensorSpec spec;

    /** Meaning of the dimensions, as in NHWC. */
    public final String layout;

    /** Lowest and highest value in training. */
    public final double[] valueRange;

    /** "upright" where pictures must be turned as EXIF says. */
    public final String orientation;

    /** How pictures of another size are resized, as TensorFlow's tf.image.resize does: bilinear, area or nearest; null: refuse them. */
    public final String resize;

    /** The texts that the numbers of this input stand for, from 1; 0 stands for any other. */
    public final List<String> categories;

    TensorEntry(JsonObject object, boolean isVersion4) {
      String name = object.text("name");
      List<Long> sizes = object.items("shape", JsonObject::asInteger);
      String dtype = object.text("dtype");
      double scale = object.number("scale");
      long zeroPoint = object.integer("zero_point");
      layout = object.optionalText("layout");
      valueRange = range(object);
      orientation = isVersion4 ? object.optionalText("orientation") : null;
      resize = isVersion4 ? object.optionalText("resize") : null;
      categories = isVersion4 ? Collections.unmodifiableList(object.items("categories", JsonObject::asText)) : Collections.<String>emptyList();
      int[] shape = new int[sizes.size()];
      for (int axis = 0; axis < shape.length; axis++) {
        shape[axis] = (int) Math.max(Integer.MIN_VALUE, Math.min(Integer.MAX_VALUE, sizes.get(axis)));
      }
      require(zeroPoint == (int) zeroPoint, object.at("zero_point"), "a code", zeroPoint);
      spec = new TensorSpec(name, shape, dtype, scale, (int) zeroPoint);
    }

    private static double[] range(JsonObject object) {
      Object bounds = object.take("value_range");
      if (bounds == null) {
        return null;
      }
      String place = object.at("value_range");
      require(bounds instanceof List && ((List<?>) bounds).size() == 2, place, "[lowest, highest]", bounds);
      List<?> values = (List<?>) bounds;
      return new double[] {JsonObject.asNumber(values.get(0), place + "[0]"), JsonObject.asNumber(values.get(1), place + "[1]")};
    }
  }

  /** Inputs with the outputs they must give. */
  public static final class Golden {
    /** The .npz file: arrays {@code input:NAME} and {@code output:NAME} in real-world units. */
    public final String file;

    public final int numExamples;

    /** The output that is compared. */
    public final String output;

    /** Largest difference that kernels of another family may make. */
    public final double tolerance;

    final Double minimumMargin;

    Golden(JsonObject object, boolean isVersion2) {
      file = object.text("file");
      long examples = object.integer("num_examples");
      output = object.text("output");
      minimumMargin = isVersion2 ? (Double) object.number("minimum_margin") : object.optionalNumber("minimum_margin");
      tolerance = object.number("tolerance");
      require(examples >= 1 && examples <= Integer.MAX_VALUE, "golden.num_examples", "an integer from 1", examples);
      numExamples = (int) examples;
    }
  }

  /** How the answer is read. */
  public static final class Answer {
    public final String output;

    /** A one-unit output at or above it is class 1; null where the largest score is the answer, or the output is a real value. */
    public final Double decisionThreshold;

    Answer(JsonObject object) {
      output = object.text("output");
      decisionThreshold = object.optionalNumber("decision_threshold");
    }
  }

  /** Why the model was let through. */
  public static final class Verdict {
    public final long numExamples;
    public final Long numCorrectFloat;
    public final Long numCorrectCandidate;
    public final String minimumRatio;
    public final String metric;
    public final String floatValue;
    public final String candidateValue;
    public final String maximumErrorFactor;

    Verdict(JsonObject object, boolean isVersion2) {
      numExamples = object.integer("num_examples");
      numCorrectFloat = isVersion2 ? (Long) object.integer("num_correct_float") : object.optionalInteger("num_correct_float");
      numCorrectCandidate = isVersion2 ? (Long) object.integer("num_correct_candidate") : object.optionalInteger("num_correct_candidate");
      minimumRatio = isVersion2 ? object.text("minimum_ratio") : object.optionalText("minimum_ratio");
      metric = isVersion2 ? TOP1 : object.text("metric");
      floatValue = isVersion2 ? null : object.optionalText("float_value");
      candidateValue = isVersion2 ? null : object.optionalText("candidate_value");
      maximumErrorFactor = isVersion2 ? null : object.optionalText("maximum_error_factor");
    }

    /** Whether labels are real values: the output is a number, not classes. */
    public boolean judgesErrors() {
      return metric.equals("mae") || metric.equals("rmse");
    }
  }

  /** An operator of the graph, with the version that the runtime must have. */
  public static final class Operator {
    public final String name;
    public final long version;

    Operator(JsonObject object) {
      name = object.text("name");
      version = object.integer("version");
    }
  }

  private static final class Runtime {
    final List<Operator> operators;
    final Double delegatedFraction;

    Runtime(JsonObject object) {
      object.optionalText("minimum_runtime");
      operators = object.objects("operators", Operator::new);
      delegatedFraction = object.optionalNumber("delegated_fraction");
    }
  }

  private static final class Histogram {
    final String name;
    final String statistic;
    final List<Double> edges;
    final List<Long> counts;

    Histogram(JsonObject object) {
      name = object.text("name");
      statistic = object.text("statistic");
      edges = object.items("edges", JsonObject::asNumber);
      counts = object.items("counts", JsonObject::asInteger);
    }
  }

  private static final class Reference {
    final long numExamples;
    final List<Histogram> histograms;
    final List<Long> predictions;
    final boolean needsVersion3;

    Reference(JsonObject object, boolean isVersion2) {
      Histogram confidence = isVersion2 ? object.child("confidence", Histogram::new) : object.optionalChild("confidence", Histogram::new);
      Histogram values = isVersion2 ? null : object.optionalChild("values", Histogram::new);
      numExamples = object.integer("num_examples");
      histograms = new ArrayList<>(object.objects("inputs", Histogram::new));
      predictions = object.items("predictions", JsonObject::asInteger);
      needsVersion3 = confidence == null || values != null;
      for (Histogram histogram : Arrays.asList(confidence, values)) {
        if (histogram != null) {
          histograms.add(histogram);
        }
      }
    }
  }

  public final int schemaVersion;
  public final String modelName;
  public final long sequence;
  public final String version;
  public final String created;
  public final List<FileEntry> files;
  public final List<TensorEntry> inputs;
  public final List<TensorEntry> outputs;

  /** Class names in the order of the output; empty where the model does not classify. */
  public final List<String> labels;

  public final String recipe;
  public final String stack;
  public final List<Operator> operators;

  /** Share of the operators that the delegate computed where the model was judged; null where the runtime did not tell. */
  public final Double delegatedFraction;

  public final Verdict verdict;

  /** Null where the release was made without examples. */
  public final Golden golden;

  /** Null where the largest score of the only output is the answer, or its value. */
  public final Answer answer;

  /** Reads the bytes of a manifest.json. */
  public static Manifest read(byte[] utf8) {
    JsonObject object = JsonObject.of(Json.parse(utf8), "");
    Manifest manifest = new Manifest(object);
    object.finish();
    return manifest;
  }

  private Manifest(JsonObject object) {
    Object version = object.take("schema_version");
    boolean isKnown = version instanceof BigInteger && Arrays.asList(2, 3, 4).contains(((BigInteger) version).intValue());
    isKnown = isKnown && ((BigInteger) version).bitLength() < 32;
    require(isKnown, "schema_version", "2 or 3 or 4, which this app knows", version);
    schemaVersion = ((BigInteger) version).intValue();
    boolean is2 = schemaVersion == 2;
    boolean is4 = schemaVersion == 4;
    modelName = object.text("model_name");
    sequence = object.integer("sequence");
    this.version = object.text("version");
    created = object.text("created");
    files = Collections.unmodifiableList(object.objects("files", FileEntry::new));
    inputs = Collections.unmodifiableList(object.objects("inputs", entry -> new TensorEntry(entry, is4)));
    outputs = Collections.unmodifiableList(object.objects("outputs", entry -> new TensorEntry(entry, is4)));
    labels = Collections.unmodifiableList(object.items("labels", JsonObject::asText));
    recipe = object.text("recipe");
    stack = object.text("stack");
    Runtime runtime = object.child("runtime", Runtime::new);
    operators = Collections.unmodifiableList(runtime.operators);
    delegatedFraction = runtime.delegatedFraction;
    verdict = object.child("verdict", entry -> new Verdict(entry, is2));
    golden = object.optionalChild("golden", entry -> new Golden(entry, is2));
    Reference reference = object.optionalChild("reference", entry -> new Reference(entry, is2));
    answer = is4 ? object.optionalChild("answer", Answer::new) : null;
    check(reference);
  }

  /** The output that holds the answer; null where an old manifest of several outputs does not say. */
  public String judgedOutput() {
    if (answer != null) {
      return answer.output;
    } else if (golden != null) {
      return golden.output;
    }
    return outputs.size() == 1 ? outputs.get(0).spec.name : null;
  }

  /** Where a one-unit output becomes class 1. */
  public double decisionThreshold() {
    return answer == null || answer.decisionThreshold == null ? Answers.DEFAULT_DECISION_THRESHOLD : answer.decisionThreshold;
  }

  /** The name of a class; its number where there are no names. */
  public String label(int index) {
    return index < labels.size() ? labels.get(index) : String.valueOf(index);
  }

  /** The entry of a file. */
  public FileEntry file(String name) {
    for (FileEntry entry : files) {
      if (entry.name.equals(name)) {
        return entry;
      }
    }
    throw new EdgeproofException("release " + version + " has no file '" + name + "'.");
  }

  private void check(Reference reference) {
    int needed = neededVersion(reference);
    require(schemaVersion >= needed, "schema_version", needed + " for this content", schemaVersion);
    for (String[] text : new String[][] {{"model_name", modelName}, {"version", version}, {"recipe", recipe}, {"stack", stack}}) {
      require(!text[1].isEmpty(), text[0], "a text that is not empty", text[1]);
    }
    require(sequence >= 1, "sequence", "an integer from 1", sequence);
    require(isUtcTime(created), "created", "a UTC time like 2026-11-21T09:00:00Z", created);
    checkFiles();
    checkTensors("inputs", inputs);
    checkTensors("outputs", outputs);
    for (Operator operator : operators) {
      require(!operator.name.isEmpty(), "runtime.operators", "named", operator.name);
      require(operator.version >= 1, "runtime.operators", "of versions from 1", operator.version);
    }
    checkVerdict();
    boolean isShare = delegatedFraction == null || (delegatedFraction >= 0.0 && delegatedFraction <= 1.0);
    require(isShare, "runtime.delegated_fraction", "from 0.0 to 1.0, or null", delegatedFraction);
    checkGoldenAndAnswer();
    if (reference != null) {
      checkReference(reference);
    }
  }

  private int neededVersion(Reference reference) {
    boolean saysMore = answer != null;
    for (TensorEntry entry : inputs) {
      saysMore |= isSaid(entry.orientation) || isSaid(entry.resize) || !entry.categories.isEmpty();
    }
    if (saysMore) {
      return 4;
    }
    boolean is2 = verdict.metric.equals(TOP1) && verdict.floatValue == null && verdict.candidateValue == null;
    is2 = is2 && (golden == null || golden.minimumMargin != null) && (reference == null || !reference.needsVersion3);
    return is2 ? 2 : 3;
  }

  private static boolean isSaid(String text) {
    return text != null && !text.isEmpty();
  }

  private static boolean isUtcTime(String text) {
    SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT);
    format.setTimeZone(TimeZone.getTimeZone("UTC"));
    format.setLenient(false);
    try {
      return format.format(format.parse(text)).equals(text);
    } catch (ParseException error) {
      return false;
    }
  }

  private void checkFiles() {
    require(!files.isEmpty(), "files", "a list with at least one file", "none");
    HashSet<String> names = new HashSet<>();
    for (FileEntry entry : files) {
      require(FILE_NAME.matcher(entry.name).matches(), "files.name", "a plain file name", entry.name);
      require(SHA256.matcher(entry.sha256).matches(), "files.sha256", "64 hex digits", entry.sha256);
      require(entry.sizeBytes >= 0, "files.size_bytes", "a size in bytes", entry.sizeBytes);
      require(names.add(entry.name), "files", "a list of different names", entry.name);
    }
  }

  private static void checkTensors(String key, List<TensorEntry> entries) {
    require(!entries.isEmpty(), key, "a list with at least one tensor", "none");
    for (TensorEntry entry : entries) {
      require(!entry.spec.name.isEmpty(), key + ".name", "a text that is not empty", entry.spec.name);
      require(!entry.spec.dtypeName.isEmpty(), key + ".dtype", "a text that is not empty", entry.spec.dtypeName);
      for (int size : entry.spec.shape()) {
        require(size >= -1, key + ".shape", "sizes from 0, or -1", size);
      }
      require(entry.spec.scale >= 0.0 && entry.spec.scale < Double.POSITIVE_INFINITY, key + ".scale", "a number from 0", entry.spec.scale);
      require(!"".equals(entry.layout), key + ".layout", "a text or null", entry.layout);
      require(entry.orientation == null || entry.orientation.equals("upright"), key + ".orientation", "'upright' or null", entry.orientation);
      require(entry.resize == null || RESIZES.contains(entry.resize), key + ".resize", "one of " + RESIZES + ", or null", entry.resize);
      boolean isDistinct = new HashSet<>(entry.categories).size() == entry.categories.size();
      require(isDistinct, key + ".categories", "a list of different texts", entry.categories);
      double[] range = entry.valueRange;
      boolean isRange = range == null || (!Double.isInfinite(range[0]) && range[0] <= range[1] && !Double.isInfinite(range[1]));
      require(isRange, key + ".value_range", "[lowest, highest]", range == null ? null : Arrays.toString(range));
    }
  }

  private void checkVerdict() {
    require(verdict.numExamples >= 1, "verdict.num_examples", "an integer from 1", verdict.numExamples);
    require(METRIC.matcher(verdict.metric).matches(), "verdict.metric", "a metric's name", verdict.metric);
    boolean errors = verdict.judgesErrors();
    for (Long count : Arrays.asList(verdict.numCorrectFloat, verdict.numCorrectCandidate)) {
      boolean holds = errors ? count == null : count != null && count >= 0 && count <= verdict.numExamples;
      require(holds, "verdict.num_correct_float and num_correct_candidate", errors ? "null" : "from 0 to " + verdict.numExamples, count);
    }
    String bound = errors ? verdict.maximumErrorFactor : verdict.minimumRatio;
    String absent = errors ? verdict.minimumRatio : verdict.maximumErrorFactor;
    require(isRatio(bound), errors ? "verdict.maximum_error_factor" : "verdict.minimum_ratio", "text like \"97/100\"", bound);
    require(absent == null, errors ? "verdict.minimum_ratio" : "verdict.maximum_error_factor", "null for this metric", absent);
    for (String value : Arrays.asList(verdict.floatValue, verdict.candidateValue)) {
      boolean holds = value == null ? !errors : DECIMAL.matcher(value).matches();
      require(holds, "verdict.float_value and candidate_value", "text like \"0.97\"", value);
    }
  }

  private static boolean isRatio(String text) {
    return text != null && RATIO.matcher(text).matches() && !text.matches("[0-9]+/0+");
  }

  private void checkGoldenAndAnswer() {
    List<String> names = new ArrayList<>();
    for (TensorEntry entry : outputs) {
      names.add(entry.spec.name);
    }
    if (golden != null) {
      boolean isThere = false;
      for (FileEntry entry : files) {
        isThere |= entry.name.equals(golden.file);
      }
      require(isThere, "golden.file", "a file of the release", golden.file);
      require(names.contains(golden.output), "golden.output", "one of " + names, golden.output);
      for (Double value : Arrays.asList(golden.minimumMargin, (Double) golden.tolerance)) {
        require(value == null || (value >= 0.0 && value < Double.POSITIVE_INFINITY), "golden", "of numbers from 0", value);
      }
    }
    if (answer != null) {
      require(names.contains(answer.output), "answer.output", "one of " + names, answer.output);
      Double threshold = answer.decisionThreshold;
      require(threshold == null || !Double.isInfinite(threshold), "answer.decision_threshold", "a number, or null", threshold);
    }
  }

  private static void checkReference(Reference reference) {
    require(reference.numExamples >= 1, "reference.num_examples", "an integer from 1", reference.numExamples);
    for (Histogram histogram : reference.histograms) {
      require(!histogram.name.isEmpty() && !histogram.statistic.isEmpty(), "reference", "named histograms", histogram.name);
      for (int edge = 1; edge < histogram.edges.size(); edge++) {
        require(histogram.edges.get(edge - 1) < histogram.edges.get(edge), "reference", "of ascending edges", histogram.edges);
      }
      require(histogram.counts.size() == histogram.edges.size() + 1, "reference", "of one count more than edges", histogram.counts);
      require(Collections.min(histogram.counts) >= 0, "reference", "of counts from 0", histogram.counts);
    }
    for (long count : reference.predictions) {
      require(count >= 0, "reference.predictions", "integers from 0", count);
    }
  }
}
