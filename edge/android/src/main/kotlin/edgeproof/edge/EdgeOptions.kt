package edgeproof.edge

import org.tensorflow.lite.Delegate

/**
 * How a model is run.
 *
 * @property numThreads threads of one call
 * @property useXnnpack whether XNNPACK computes what no other delegate takes
 * @property delegateName what messages call the delegate
 * @property delegate makes a delegate, as in `{ GpuDelegate() }`; asked twice where [proveDelegate] is set, because a delegate serves one
 *   interpreter. It is closed with the model.
 * @property requiredFraction share of the operators that the delegate must take, or the model is refused; null requires nothing
 * @property proveDelegate whether the model is loaded once more, without XNNPACK, to count what the delegate alone takes
 * @property selfTest whether the golden vectors are run before the model may answer; it also warms the model up
 */
class EdgeOptions(
    val numThreads: Int = 1,
    val useXnnpack: Boolean = true,
    val delegateName: String = "xnnpack",
    val delegate: (() -> Delegate)? = null,
    val requiredFraction: Double? = null,
    val proveDelegate: Boolean = true,
    val selfTest: Boolean = true,
)
