package edgeproof.edge

/** A required delegate does not compute what it must. */
class DelegationException(message: String) : EdgeproofException(message)

/**
 * What a delegate took, proved by what the interpreter will run: a delegate that takes k operators in one piece shortens the plan by k - 1.
 *
 * @property delegate what was asked to compute
 * @property numOperators operators of the model's main graph
 * @property planLength nodes that are run
 * @property expectedFraction share of the operators that was delegated where the model was judged; null where the manifest does not say
 */
data class Delegation(
    val delegate: String,
    val numOperators: Int,
    val planLength: Int,
    val expectedFraction: Double?,
) {
    /** It took at least so many operators. A delegate that took single operators here and there is not told from none. */
    val minimumDelegated: Int
        get() = if (planLength < numOperators) numOperators - planLength + 1 else 0

    /** The same as a share, 0 to 1. */
    val minimumFraction: Double
        get() = if (numOperators == 0) 0.0 else minimumDelegated.toDouble() / numOperators

    /** The shortfall in a sentence; null where there is none. */
    val warning: String?
        get() =
            if (expectedFraction == null || minimumFraction >= expectedFraction - MAX_SHORTFALL) {
                null
            } else {
                "$delegate computes $minimumDelegated of $numOperators operators for sure; where the model was judged it was " +
                    "${Math.round(expectedFraction * 100)} %. It may be much slower here."
            }

    internal fun require(fraction: Double) {
        if (minimumDelegated == 0 || minimumFraction < fraction) {
            throw DelegationException(
                "$delegate computes $minimumDelegated of $numOperators operators for sure, and ${Math.round(fraction * 100)} % are " +
                    "required (more than nothing at least). Check the delegate, or run without requiring it.",
            )
        }
    }

    private companion object {
        /** Of what is sure only: a delegate in several pieces took more than that. */
        const val MAX_SHORTFALL = 0.25
    }
}
