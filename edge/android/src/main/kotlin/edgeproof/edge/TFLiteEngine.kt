package edgeproof.edge

import java.nio.ByteBuffer
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.EdgeproofPlan
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor

/** TensorFlow Lite's `Interpreter`: loaded and allocated once, closed with its delegate. */
class TFLiteEngine private constructor(
    private val interpreter: Interpreter,
    private val delegate: Delegate?,
) : Engine {
    /** The only signature, where it names all inputs and outputs of the graph: then its names are the model's. */
    private val signature: String? = onlySignature()
    private val inputTensors: List<Pair<String, Tensor>> = inputs(signature)
    private val outputTensors: List<Pair<String, Tensor>> = outputs(signature)

    override val inputs: List<EngineTensor> = inputTensors.map { (name, tensor) -> described(name, tensor) }
    override val outputs: List<EngineTensor> = outputTensors.map { (name, tensor) -> described(name, tensor) }
    override val planLength: Int = EdgeproofPlan.length(interpreter)

    override fun run(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
        if (signature != null) {
            interpreter.runSignature(inputs, outputs, signature)
        } else {
            val given = Array<Any>(inputTensors.size) { inputs.getValue(inputTensors[it].first) }
            val taken = outputTensors.withIndex().associate { (index, named) -> index to outputs.getValue(named.first) as Any }
            interpreter.runForMultipleInputsOutputs(given, taken)
        }
    }

    override fun close() {
        interpreter.close()
        delegate?.close() // after the interpreter that uses it
    }

    private fun onlySignature(): String? {
        val key = interpreter.signatureKeys.singleOrNull() ?: return null
        val graphInputs = (0 until interpreter.inputTensorCount).map { interpreter.getInputTensor(it).index() }.toSet()
        val graphOutputs = (0 until interpreter.outputTensorCount).map { interpreter.getOutputTensor(it).index() }.toSet()
        val named = interpreter.getSignatureInputs(key).map { interpreter.getInputTensorFromSignature(it, key).index() }.toSet()
        val given = interpreter.getSignatureOutputs(key).map { interpreter.getOutputTensorFromSignature(it, key).index() }.toSet()
        return key.takeIf { named == graphInputs && given == graphOutputs }
    }

    private fun inputs(key: String?): List<Pair<String, Tensor>> =
        if (key != null) {
            interpreter.getSignatureInputs(key).map { it to interpreter.getInputTensorFromSignature(it, key) }
        } else {
            (0 until interpreter.inputTensorCount).map { interpreter.getInputTensor(it) }.map { it.name() to it }
        }

    private fun outputs(key: String?): List<Pair<String, Tensor>> =
        if (key != null) {
            interpreter.getSignatureOutputs(key).map { it to interpreter.getOutputTensorFromSignature(it, key) }
        } else {
            (0 until interpreter.outputTensorCount).map { interpreter.getOutputTensor(it) }.map { it.name() to it }
        }

    companion object {
        /**
         * Loads a model.
         *
         * @param model the file's bytes, in a direct or mapped buffer that must stay as it is
         */
        fun open(model: ByteBuffer, options: EdgeOptions, useXnnpack: Boolean = options.useXnnpack): TFLiteEngine {
            val delegate = options.delegate?.invoke()
            val settings = Interpreter.Options().setNumThreads(options.numThreads).setUseXNNPACK(useXnnpack)
            delegate?.let { settings.addDelegate(it) }
            val interpreter =
                try {
                    Interpreter(model, settings)
                } catch (error: RuntimeException) { // TFLite throws IllegalArgument- and IllegalStateException
                    delegate?.close()
                    throw EdgeproofException("the runtime refuses the model with ${options.delegateName}: ${error.message}", error)
                }
            try {
                interpreter.allocateTensors()
                return TFLiteEngine(interpreter, delegate)
            } catch (error: RuntimeException) {
                interpreter.close()
                delegate?.close()
                throw EdgeproofException("the runtime has no room for the model's tensors: ${error.message}", error)
            }
        }

        private fun described(name: String, tensor: Tensor): EngineTensor {
            val quantization = tensor.quantizationParams()
            return EngineTensor(name, numpyName(tensor.dataType()), tensor.numElements(), quantization.scale, quantization.zeroPoint)
        }

        private fun numpyName(type: DataType): String = if (type == DataType.BOOL) "bool" else type.name.lowercase()
    }
}
