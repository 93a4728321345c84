package org.tensorflow.lite;

/**
 * How many nodes an interpreter runs after delegates have replaced theirs: the one thing that TFLite's Java interface keeps to its own
 * package. Built against 2.16.1; a later version that drops it does not compile, so that nobody believes a proof that is none.
 */
public final class EdgeproofPlan {
  private EdgeproofPlan() {}

  /** Nodes of the execution plan. */
  public static int length(Interpreter interpreter) {
    return interpreter.getExecutionPlanLength();
  }
}
