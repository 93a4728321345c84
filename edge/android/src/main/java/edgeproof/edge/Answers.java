package edgeproof.edge;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * What a model answers, as {@code edgeproof_edge.answers} reads it. Rules, in order: 1. Of several scores the largest is the answer; a tie
 * goes to the lower class, and a score that is no number wins, as NumPy's argmax has it. 2. One unit at or above its threshold is class 1.
 */
public final class Answers {
  /** Where a one-unit output becomes class 1, if the manifest does not say. */
  public static final double DEFAULT_DECISION_THRESHOLD = 0.5;

  private Answers() {}

  /** The class that scores answer. */
  public static int answeredClass(float[] scores, double decisionThreshold) {
    if (scores.length == 1) {
      return scores[0] >= decisionThreshold ? 1 : 0;
    }
    int best = 0;
    for (int index = 0; index < scores.length && !Float.isNaN(scores[best]); index++) {
      if (scores[index] > scores[best] || Float.isNaN(scores[index])) {
        best = index;
      }
    }
    return best;
  }

  /** Positions of the largest scores, the largest first; equal ones in order, and those that are no numbers last. No softmax is needed. */
  public static int[] top(float[] scores, int number) {
    List<Integer> order = new ArrayList<>(scores.length);
    for (int index = 0; index < scores.length; index++) {
      order.add(index);
    }
    Collections.sort(order, (first, second) -> compare(scores[first], scores[second])); // stable
    int[] best = new int[Math.min(Math.max(0, number), scores.length)];
    for (int rank = 0; rank < best.length; rank++) {
      best[rank] = order.get(rank);
    }
    return best;
  }

  private static int compare(float first, float second) {
    if (Float.isNaN(first) || Float.isNaN(second)) {
      return Boolean.compare(Float.isNaN(first), Float.isNaN(second));
    }
    return first > second ? -1 : first < second ? 1 : 0; // Float.compare holds 0 and -0 for different
  }
}
