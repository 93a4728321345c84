package edgeproof.edge

import java.io.File
import java.nio.ByteBuffer
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/**
 * The facade, beside an engine that replays what LiteRT computed elsewhere: the same codes in give the same codes out, and any other codes
 * fail. TensorFlow Lite itself has no library for this machine.
 */
class EdgeModelTest {
    @TempDir
    lateinit var directory: File

    private class Recording(
        val manifest: Manifest,
        private val calls: Map<List<ByteBuffer>, List<ByteArray>>,
        val examples: List<Pair<Map<String, Any>, Map<String, FloatArray>>>,
    ) : Engine {
        var isClosed = false
        var shift = 0
        override val inputs = manifest.inputs.map { described(it.spec) }
        override val outputs = manifest.outputs.map { described(it.spec) }
        override val planLength = 1

        override fun run(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
            val given = manifest.inputs.map { copied(inputs.getValue(it.spec.name)) }
            val answered = calls[given] ?: throw AssertionError("codes that LiteRT was not given: $given")
            manifest.outputs.zip(answered).forEach { (entry, bytes) ->
                outputs.getValue(entry.spec.name).put(ByteArray(bytes.size) { bytes[(it + shift) % bytes.size] })
            }
        }

        override fun close() {
            check(!isClosed) { "closed twice" }
            isClosed = true
        }

        private fun described(spec: TensorSpec) =
            EngineTensor(spec.name, spec.dtypeName, spec.numElements(), spec.scale.toFloat(), spec.zeroPoint)

        private fun copied(buffer: ByteBuffer): ByteBuffer {
            assertTrue(buffer.isDirect)
            val bytes = ByteArray(buffer.remaining())
            buffer.duplicate().get(bytes)
            return ByteBuffer.wrap(bytes)
        }
    }

    private fun release(name: String): File = File(directory, name).also { Bundle.unpack(Vectors.file("$name.tar"), it) }

    private fun recording(name: String): Recording =
        Vectors.open("$name.replay").use { stream ->
            val manifest = Manifest.read(File(File(directory, name), Bundle.MANIFEST_FILE).readBytes())
            val calls = HashMap<List<ByteBuffer>, List<ByteArray>>()
            val examples = ArrayList<Pair<Map<String, Any>, Map<String, FloatArray>>>()
            repeat(stream.readInt()) {
                val inputs = manifest.inputs.associate { entry -> entry.spec.name to DoubleArray(stream.readInt()) { stream.readDouble() } as Any }
                val given = manifest.inputs.map { ByteBuffer.wrap(ByteArray(stream.readInt()).also(stream::readFully)) }
                val taken = manifest.outputs.map { ByteArray(stream.readInt()).also(stream::readFully) }
                val outputs = manifest.outputs.associate { entry -> entry.spec.name to FloatArray(stream.readInt()) { stream.readFloat() } }
                calls[given] = taken
                examples.add(inputs to outputs)
            }
            Recording(manifest, calls, examples)
        }

    private fun opened(name: String, options: EdgeOptions = EdgeOptions(), change: (Recording) -> Unit = {}): Pair<EdgeModel, Recording> {
        val files = DirectoryFiles(release(name))
        val engine = recording(name).also(change)
        val delegation = Delegation("xnnpack", 3, engine.planLength, engine.manifest.delegatedFraction)
        return EdgeModel.proved(files, engine.manifest, engine, delegation, options) to engine
    }

    @Test
    fun `every model gives what Python's EdgeModel gives`() {
        for (name in Vectors.file("replays.txt").readLines()) {
            val (model, engine) = opened(name)
            for ((inputs, outputs) in engine.examples) {
                val ours = model.predict(inputs)
                outputs.forEach { (output, values) -> assertArrayEquals(values, ours.getValue(output), name) }
            }
            model.close()
            model.close()
            assertTrue(engine.isClosed)
            assertTrue(assertThrows(EdgeproofException::class.java) { model.predict(engine.examples[0].first) }.message!!.contains("is closed"))
        }
    }

    @Test
    fun `the golden vectors are run before a model answers, and one that answers otherwise is closed and refused`() {
        val (model, _) = opened("int8")
        assertEquals(32, DirectoryFiles(File(directory, "int8")).open("golden.npz").use { model.selfTest(GoldenRows.read(it, model.manifest)) }.numExamples)
        directory.resolve("int8").deleteRecursively()
        lateinit var broken: Recording
        val refusal = assertThrows(GoldenException::class.java) { opened("int8") { broken = it.apply { shift = 1 } } }
        assertTrue(refusal.message!!.contains("golden vector"), refusal.message)
        assertTrue(broken.isClosed)
    }

    @Test
    fun `many threads ask one model`() {
        val (model, engine) = opened("int8")
        val pool = Executors.newFixedThreadPool(4)
        val wanted = engine.examples.map { (inputs, outputs) -> inputs to outputs.values.single() }
        val asked = (0 until 400).map { number -> pool.submit(Callable { number to model.predict(wanted[number % wanted.size].first) }) }
        asked.map { it.get() }.forEach { (number, outputs) -> assertArrayEquals(wanted[number % wanted.size].second, outputs.values.single()) }
        pool.shutdown()
    }

    @Test
    fun `an answer has its label and the most likely classes`() {
        val (model, engine) = opened("int8")
        val (inputs, outputs) = engine.examples[0]
        val answer = model.answer(inputs, 2)
        val best = outputs.values.single().withIndex().maxByOrNull { it.value }!!.index
        assertEquals(best, answer.index)
        assertEquals("class $best", answer.label)
        assertEquals(listOf(best), answer.top.map { it.index }.take(1))
        assertNull(answer.value)
    }

    @Test
    fun `wrong inputs are told by name`() {
        val (model, _) = opened("int8")
        val refusal = assertThrows(EdgeproofException::class.java) { model.predict(mapOf("image" to FloatArray(8))) }
        assertTrue(refusal.message!!.contains("[x]") && refusal.message!!.contains("[image]"), refusal.message)
    }

    @Test
    fun `what a delegate took is counted, and a required one that took nothing is refused`() {
        assertEquals(10, Delegation("gpu", 10, 1, 1.0).minimumDelegated)
        assertEquals(7, Delegation("gpu", 10, 4, 1.0).minimumDelegated)
        assertEquals(0, Delegation("gpu", 10, 10, null).minimumDelegated)
        assertNull(Delegation("gpu", 10, 2, 0.9).warning)
        assertTrue(Delegation("gpu", 10, 9, 0.9).warning!!.contains("90 %"))
        lateinit var engine: Recording
        val options = EdgeOptions(requiredFraction = 0.5)
        val files = DirectoryFiles(release("int8"))
        engine = recording("int8")
        val none = Delegation("gpu", 3, 3, 1.0)
        assertThrows(DelegationException::class.java) { EdgeModel.proved(files, engine.manifest, engine, none, options) }
        assertTrue(engine.isClosed)
    }

    @Test
    fun `a model that is not the manifest's is refused`() {
        val files = DirectoryFiles(release("int8"))
        val engine = recording("int8")
        val other = recording("int8").let { object : Engine by it { override val inputs = it.inputs.map { tensor -> tensor.copy(scale = 1f) } } }
        val refusal =
            assertThrows(EdgeproofException::class.java) {
                EdgeModel.proved(files, engine.manifest, other, Delegation("xnnpack", 3, 1, null), EdgeOptions())
            }
        assertTrue(refusal.message!!.contains("the manifest says of the inputs"), refusal.message)
    }
}
