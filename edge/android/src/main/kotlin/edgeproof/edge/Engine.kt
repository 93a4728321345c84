package edgeproof.edge

import java.io.Closeable
import java.nio.ByteBuffer

/** A tensor as an engine has it: sizes are those that were allocated. */
data class EngineTensor(
    val name: String,
    val dtype: String,
    val numElements: Int,
    val scale: Float,
    val zeroPoint: Int,
)

/** What computes a loaded model, one call at a time: TensorFlow Lite on a device, a recording in tests. */
interface Engine : Closeable {
    val inputs: List<EngineTensor>
    val outputs: List<EngineTensor>

    /** Nodes that are run, after delegates have put one in the place of those that they take. */
    val planLength: Int

    /** Computes outputs from inputs, by name; the buffers are direct and hold a tensor each. */
    fun run(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>)
}
