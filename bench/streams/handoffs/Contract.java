package handoffs;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.List;
import java.util.function.Predicate;

/** What a handoff must carry, and to whom. */
record Contract(
    String id,
    int version,
    String action,
    Receiver receiver,
    List<Field> fields,
    Duration acceptWithin,
    Duration completeWithin) {

  /** Who receives, and who answers for it there. */
  record Receiver(String id, String team, String stage, String owner, String ownerContact) {}

  /** A required field and the type that it must have. */
  record Field(String name, Predicate<JsonNode> type) {}

  /** The contract of bench/documents.yaml. */
  static final Contract CLAIM_TO_PAYOUT =
      new Contract(
          "claim-to-payout",
          1,
          "Pay out the claim, or say what is missing.",
          new Receiver("payout", "finance", "pay", "Ben Oduya", "ben@assekuranz.example"),
          List.of(
              new Field("claimant", JsonNode::isTextual),
              new Field("policy", JsonNode::isTextual),
              new Field("incident", JsonNode::isTextual),
              new Field("damage", JsonNode::isObject),
              new Field("photos", JsonNode::isArray),
              new Field("amount", JsonNode::isNumber),
              new Field("urgency", JsonNode::isIntegralNumber)),
          Duration.ofHours(4),
          Duration.ofDays(2));
}
