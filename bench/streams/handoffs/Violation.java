package handoffs;

/** A field that a handoff did not carry as promised; {@code origin} says who last had it. */
record Violation(
    String id,
    String packageId,
    String taskId,
    String eventId,
    String kind,
    String contract,
    String field,
    TaskState.Origin origin,
    String message,
    String occurredAt) {}
