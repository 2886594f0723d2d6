package handoffs;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** What a tool produced for a task; {@code handoff} is null where it does not hand the task off. */
record ToolOutput(
    String id,
    String taskId,
    String workflow,
    String stage,
    String tool,
    String team,
    long occurredAt,
    Map<String, JsonNode> context,
    Handoff handoff) {

  /** To whom an output hands its task, and on which contract. */
  record Handoff(String to, String contract) {}
}
