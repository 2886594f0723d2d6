package handoffs;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;

/** What the receiver gets: the context, the origin of each value, an owner and deadlines. */
record HandoffPackage(
    String id,
    String taskId,
    String eventId,
    String workflow,
    String contract,
    int contractVersion,
    Sender from,
    Contract.Receiver to,
    String action,
    Map<String, JsonNode> context,
    Map<String, Provenance> provenance,
    List<String> missing,
    double fidelity,
    double completeness,
    List<String> violations,
    String occurredAt,
    String acceptBy,
    String completeBy) {

  /** Who handed off. */
  record Sender(String team, String stage, String tool) {}

  /** How a value came into the package ({@code arrived} or {@code rebuilt}), and from where. */
  record Provenance(String how, TaskState.Origin origin) {}
}
