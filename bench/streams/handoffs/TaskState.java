package handoffs;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.Map;

/** What is remembered of a task: the latest value under each name, and where it came from. */
record TaskState(String workflow, long updatedAt, int handoffs, Map<String, Captured> captured) {

  /** A value and the output that was the first to say it. */
  record Captured(JsonNode value, Origin origin) {}

  /** The output that a value came from. */
  record Origin(String stage, String tool, String eventId, long occurredAt) {

    static Origin of(ToolOutput output) {
      return new Origin(output.stage(), output.tool(), output.id(), output.occurredAt());
    }
  }

  /** A task of which nothing is known yet. */
  static TaskState of(ToolOutput first) {
    return new TaskState(first.workflow(), first.occurredAt(), 0, new HashMap<>());
  }

  /** The task after an output. A value that is said again keeps its origin. */
  TaskState after(ToolOutput output) {
    Origin here = Origin.of(output);
    output
        .context()
        .forEach(
            (name, value) -> {
              Captured before = captured.get(name);
              if (before == null || !before.value().equals(value)) {
                captured.put(name, new Captured(value, here));
              }
            });
    int made = handoffs + (output.handoff() == null ? 0 : 1);
    return new TaskState(workflow, output.occurredAt(), made, captured);
  }
}
