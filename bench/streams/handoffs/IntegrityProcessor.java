package handoffs;

import com.fasterxml.jackson.databind.JsonNode;
import handoffs.HandoffPackage.Provenance;
import handoffs.HandoffPackage.Sender;
import handoffs.TaskState.Captured;
import handoffs.TaskState.Origin;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Remembers what each task's tools said; at a handoff, builds the package and names what was lost. */
final class IntegrityProcessor implements Processor<String, ToolOutput, String, Object> {
  static final String TASKS = "tasks";
  static final String PACKAGES = "packages";
  static final String VIOLATIONS = "violations";

  private final Contract contract;
  private ProcessorContext<String, Object> kafka;
  private KeyValueStore<String, TaskState> tasks;

  IntegrityProcessor(Contract contract) {
    this.contract = contract;
  }

  @Override
  public void init(ProcessorContext<String, Object> context) {
    kafka = context;
    tasks = context.getStateStore(TASKS);
  }

  @Override
  public void process(Record<String, ToolOutput> record) {
    ToolOutput output = record.value();
    TaskState task = tasks.get(record.key());
    if (task == null) {
      task = TaskState.of(output);
    }
    if (output.handoff() != null) {
      handOff(record, task);
    }
    tasks.put(record.key(), task.after(output));
  }

  /** Publishes the package, and a violation for each field that did not arrive as promised. */
  private void handOff(Record<String, ToolOutput> record, TaskState task) {
    ToolOutput output = record.value();
    String id = output.id() + ":" + contract.id();
    Origin here = Origin.of(output);
    Map<String, JsonNode> context = new LinkedHashMap<>();
    Map<String, Provenance> provenance = new LinkedHashMap<>();
    List<Violation> violations = new ArrayList<>();
    List<String> missing = new ArrayList<>();
    int arrived = 0;

    for (Contract.Field field : contract.fields()) {
      String name = field.name();
      JsonNode sent = output.context().get(name);
      Captured known = task.captured().get(name);
      if (sent != null && !sent.isNull()) {
        boolean fits = field.type().test(sent);
        if (fits) {
          arrived++;
        } else {
          violations.add(violation(id, output, "context_malformed", name, here));
        }
        context.put(name, sent);
        Origin first = known != null && known.value().equals(sent) ? known.origin() : here;
        provenance.put(name, new Provenance("arrived", first));
      } else if (known != null && field.type().test(known.value())) {
        violations.add(violation(id, output, "context_dropped", name, known.origin()));
        context.put(name, known.value());
        provenance.put(name, new Provenance("rebuilt", known.origin()));
      } else {
        violations.add(violation(id, output, "never_captured", name, null));
        missing.add(name);
      }
    }
    output
        .context()
        .forEach(
            (name, value) -> {
              if (context.putIfAbsent(name, value) == null) {
                provenance.put(name, new Provenance("arrived", here));
              }
            });

    double required = contract.fields().size();
    Instant at = Instant.ofEpochMilli(output.occurredAt());
    HandoffPackage handoff =
        new HandoffPackage(
            id,
            output.taskId(),
            output.id(),
            output.workflow(),
            contract.id(),
            contract.version(),
            new Sender(output.team(), output.stage(), output.tool()),
            contract.receiver(),
            contract.action(),
            context,
            provenance,
            missing,
            arrived / required,
            (required - missing.size()) / required,
            violations.stream().map(Violation::id).toList(),
            at.toString(),
            at.plus(contract.acceptWithin()).toString(),
            at.plus(contract.completeWithin()).toString());
    kafka.forward(record.withValue(handoff), PACKAGES);
    for (Violation violation : violations) {
      kafka.forward(record.withValue(violation), VIOLATIONS);
    }
  }

  private Violation violation(
      String id, ToolOutput output, String kind, String field, Origin origin) {
    String to = contract.receiver().id();
    String message =
        origin == null
            ? field + " was not handed to " + to + ", and no tool ever captured it."
            : field + " was not handed to " + to + " as promised; " + origin.tool()
                + " had it at stage " + origin.stage() + ".";
    return new Violation(
        id + ":" + kind + ":" + field,
        id,
        output.taskId(),
        output.id(),
        kind,
        contract.id(),
        field,
        origin,
        message,
        Instant.ofEpochMilli(output.occurredAt()).toString());
  }
}
