package edgeproof.edge

import android.content.res.AssetManager
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.security.MessageDigest

/** A release answers otherwise on this device than where it was judged. */
class GoldenException(message: String) : EdgeproofException(message)

/** One class among the most likely. */
data class Ranked(val index: Int, val label: String, val score: Float)

/**
 * What the model says of one example.
 *
 * @property index number of the class; null where the output is a real value
 * @property value the real value; null where the output is classes
 */
data class EdgeAnswer(val label: String?, val index: Int?, val value: Float?, val top: List<Ranked>)

/** How a release did on its golden vectors: rows, and the largest difference of any number of the output, in its units. */
data class GoldenResult(val numExamples: Int, val largestDifference: Double, val tolerance: Double)

/**
 * One release, loaded once, answering many threads one after the other. As `edgeproof_edge.runtime.EdgeModel`: files are held against the
 * manifest before anything is loaded, the loaded model against the manifest's tensors, its answers against the golden vectors; values go in
 * and come out in real-world units, by name.
 *
 * @property manifest what the release says of itself
 * @property delegation what computes it, proved
 */
class EdgeModel internal constructor(
    val manifest: Manifest,
    private val engine: Engine,
    val delegation: Delegation,
) : Closeable {
    private val inputSpecs = manifest.inputs.map { it.spec }
    private val outputSpecs = manifest.outputs.map { it.spec }
    private val inputBuffers: Map<String, ByteBuffer>
    private val outputBuffers: Map<String, ByteBuffer>
    private var isClosed = false

    init {
        agree("input", inputSpecs, engine.inputs)
        agree("output", outputSpecs, engine.outputs)
        inputBuffers = inputSpecs.associate { it.name to Tensors.buffer(it) }
        outputBuffers = outputSpecs.associate { it.name to Tensors.buffer(it) }
    }

    /**
     * Runs the model on one example (on one batch, where the graph's batch is fixed).
     *
     * @param inputs arrays by name, in real-world units: FloatArray, DoubleArray, IntArray, LongArray, BooleanArray, or ByteArray, which are
     *   pixels from 0 to 255
     * @return arrays by name, in real-world units
     */
    @Synchronized
    fun predict(inputs: Map<String, Any>): Map<String, FloatArray> {
        if (isClosed) {
            throw EdgeproofException("release ${manifest.version} is closed. Open it again.")
        }
        if (inputs.keys != inputBuffers.keys) {
            throw EdgeproofException("the model has the inputs ${inputBuffers.keys}; ${inputs.keys} were given. Give one array for each, by name.")
        }
        for (spec in inputSpecs) {
            Tensors.write(inputs.getValue(spec.name), spec, inputBuffers.getValue(spec.name))
        }
        outputBuffers.values.forEach { it.clear() }
        engine.run(inputBuffers, outputBuffers)
        return outputSpecs.associate { it.name to Tensors.read(outputBuffers.getValue(it.name), it) }
    }

    /** The same for a model with one input. */
    fun predict(values: Any): Map<String, FloatArray> =
        predict(mapOf((inputSpecs.singleOrNull()?.name ?: throw severalInputs()) to values))

    /** What the model says of one example: its answer, and the most likely classes. */
    fun answer(inputs: Map<String, Any>, numTop: Int = 5): EdgeAnswer = read(predict(inputs), numTop)

    /** The same for a model with one input. */
    fun answer(values: Any, numTop: Int = 5): EdgeAnswer = read(predict(values), numTop)

    /**
     * Runs the golden vectors: every answer must be the one that was judged, and every number within the tolerance.
     *
     * @throws GoldenException where one is not
     */
    fun selfTest(rows: GoldenRows): GoldenResult {
        val golden = manifest.golden ?: return GoldenResult(0, 0.0, 0.0)
        var largest = 0.0
        for (row in 0 until golden.numExamples) {
            val output = predict(inputSpecs.associate { it.name to rows.input(it.name, row) }).getValue(golden.output)
            val expected = rows.output(golden.output, row)
            largest = maxOf(largest, difference(row, output, expected))
        }
        if (!(largest <= golden.tolerance)) {
            throw GoldenException(
                "release ${manifest.version} differs by $largest from its golden vectors, where ${golden.tolerance} is allowed " +
                    "(${delegation.delegate}). Keep the release before, and report this device.",
            )
        }
        return GoldenResult(golden.numExamples, largest, golden.tolerance)
    }

    @Synchronized
    override fun close() {
        if (!isClosed) {
            isClosed = true
            engine.close()
        }
    }

    private fun read(outputs: Map<String, FloatArray>, numTop: Int): EdgeAnswer {
        val name = manifest.judgedOutput() ?: throw EdgeproofException("release ${manifest.version} does not say which output is the answer. Use predict().")
        val scores = outputs.getValue(name)
        if (manifest.verdict.judgesErrors()) {
            return EdgeAnswer(null, null, scores[0], emptyList())
        }
        val index = Answers.answeredClass(scores, manifest.decisionThreshold())
        val top = if (scores.size == 1) emptyList() else Answers.top(scores, numTop).map { Ranked(it, manifest.label(it), scores[it]) }
        return EdgeAnswer(manifest.label(index), index, null, top)
    }

    private fun difference(row: Int, output: FloatArray, expected: DoubleArray): Double {
        if (output.size != expected.size) {
            throw GoldenException("golden vector $row of release ${manifest.version} has ${expected.size} numbers; the model gives ${output.size}.")
        }
        val threshold = manifest.decisionThreshold()
        val wanted = FloatArray(expected.size) { expected[it].toFloat() }
        if (!manifest.verdict.judgesErrors() && Answers.answeredClass(output, threshold) != Answers.answeredClass(wanted, threshold)) {
            throw GoldenException(
                "release ${manifest.version} answers golden vector $row otherwise than where it was judged (${delegation.delegate}). " +
                    "Keep the release before, and report this device.",
            )
        }
        var largest = 0.0
        for (index in output.indices) {
            val apart = Math.abs(output[index].toDouble() - expected[index])
            largest = if (apart.isNaN()) Double.NaN else maxOf(largest, apart)
            if (largest.isNaN()) break
        }
        return largest
    }

    private fun severalInputs() = EdgeproofException("the model has the inputs ${inputSpecs.map { it.name }}; give one array for each, by name.")

    companion object {
        /** Loads a release from the directory of its files; every file is held against the manifest. */
        @JvmStatic
        @JvmOverloads
        fun open(directory: File, options: EdgeOptions = EdgeOptions()): EdgeModel {
            try {
                Bundle.verify(directory)
            } catch (error: IOException) {
                throw EdgeproofException("$directory holds no release: ${error.message}. Give the directory of an unpacked bundle.", error)
            }
            return open(DirectoryFiles(directory), options)
        }

        /** Loads a release from a folder of the app's assets. */
        @JvmStatic
        @JvmOverloads
        fun open(assets: AssetManager, folder: String, options: EdgeOptions = EdgeOptions()): EdgeModel = open(AssetFiles(assets, folder), options)

        /** Loads a release from anywhere: the model and the golden vectors are held against the manifest. */
        @JvmStatic
        @JvmOverloads
        fun open(files: ReleaseFiles, options: EdgeOptions = EdgeOptions()): EdgeModel {
            val manifest = files.open(Bundle.MANIFEST_FILE).use { Manifest.read(it.readBytes()) }
            val model = files.map(Bundle.MODEL_FILE)
            requireDigest(files, manifest, Bundle.MODEL_FILE, model.duplicate())
            val planAlone = if (options.delegate != null && options.proveDelegate) planLength(model, options) else null
            val engine = TFLiteEngine.open(model, options)
            val plan = planAlone ?: engine.planLength
            val delegation = Delegation(options.delegateName, ModelFile.numOperators(model), plan, manifest.delegatedFraction)
            return proved(files, manifest, engine, delegation, options)
        }

        /** What the delegate alone leaves to run. */
        private fun planLength(model: ByteBuffer, options: EdgeOptions): Int =
            TFLiteEngine.open(model, options, useXnnpack = false).use { it.planLength }

        /** The model, if it does what is required of it; whatever was opened is closed where it does not. */
        internal fun proved(
            files: ReleaseFiles,
            manifest: Manifest,
            engine: Engine,
            delegation: Delegation,
            options: EdgeOptions,
        ): EdgeModel {
            try {
                options.requiredFraction?.let(delegation::require)
                val opened = EdgeModel(manifest, engine, delegation)
                manifest.golden?.takeIf { options.selfTest }?.let { opened.selfTest(goldenRows(files, manifest)) }
                return opened
            } catch (error: RuntimeException) {
                engine.close()
                throw error
            }
        }

        private fun goldenRows(files: ReleaseFiles, manifest: Manifest): GoldenRows {
            val content = files.open(manifest.golden.file).use { it.readBytes() }
            requireDigest(files, manifest, manifest.golden.file, ByteBuffer.wrap(content))
            return GoldenRows.read(content.inputStream(), manifest)
        }

        private fun requireDigest(files: ReleaseFiles, manifest: Manifest, file: String, content: ByteBuffer) {
            val digest = MessageDigest.getInstance("SHA-256").apply { update(content) }.digest()
            val hex = digest.joinToString("") { "%02x".format(it) }
            val entry = manifest.file(file)
            if (hex != entry.sha256) {
                throw EdgeproofException("${files.name}/$file has SHA-256 $hex; its manifest says ${entry.sha256}. Fetch the release again.")
            }
        }

        /** The loaded model is the one that the manifest describes: names, types, sizes, scales. */
        private fun agree(what: String, stated: List<TensorSpec>, loaded: List<EngineTensor>) {
            val described = stated.map { EngineTensor(it.name, it.dtypeName, it.numElements(), it.scale.toFloat(), it.zeroPoint) }
            if (described.toSet() != loaded.toSet()) {
                throw EdgeproofException("the manifest says of the ${what}s $described; the model has $loaded. Fetch the release again.")
            }
        }
    }
}
