package edgeproof.edge;

/** What is wrong, where, and what to do: a file that is not what it says, or a value that a model does not take. */
public class EdgeproofException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public EdgeproofException(String message) {
    super(message);
  }

  public EdgeproofException(String message, Throwable cause) {
    super(message, cause);
  }
}
