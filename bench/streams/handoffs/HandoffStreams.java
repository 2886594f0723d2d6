package handoffs;

import static handoffs.IntegrityProcessor.PACKAGES;
import static handoffs.IntegrityProcessor.TASKS;
import static handoffs.IntegrityProcessor.VIOLATIONS;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/**
 * The benchmark's job as Kafka Streams does it. Arguments: bootstrap servers, application id, a folder
 * for state, the topics of tool outputs, packages and violations, and the bytes of the cache that keeps
 * a task's states of one commit from the changelog but for the last (0: each is written). SIGTERM ends
 * it.
 */
final class HandoffStreams {
  private HandoffStreams() {}

  public static void main(String[] arguments) throws InterruptedException {
    String servers = arguments[0];
    String application = arguments[1];
    String folder = arguments[2];
    Topology topology = topology(arguments[3], arguments[4], arguments[5]);

    CountDownLatch ended = new CountDownLatch(1);
    Properties settings = settings(servers, application, folder);
    settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, Long.parseLong(arguments[6]));
    KafkaStreams streams = new KafkaStreams(topology, settings);
    streams.setStateListener(
        (now, before) -> {
          if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
            ended.countDown();
          }
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
    ended.await();
    if (streams.state() == KafkaStreams.State.ERROR) {
      System.exit(1);
    }
  }

  private static Topology topology(String outputs, String packages, String violations) {
    StringSerializer key = new StringSerializer();
    Topology topology = new Topology();
    topology.addSource(
        "tool-outputs",
        new StringDeserializer(),
        new JsonSerde<>(ToolOutput.class).deserializer(),
        outputs);
    topology.addProcessor(
        "integrity", () -> new IntegrityProcessor(Contract.CLAIM_TO_PAYOUT), "tool-outputs");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(
                Stores.inMemoryKeyValueStore(TASKS),
                Serdes.String(),
                new JsonSerde<>(TaskState.class))
            .withCachingEnabled(),
        "integrity");
    topology.addSink(
        PACKAGES, packages, key, new JsonSerde<>(HandoffPackage.class).serializer(), "integrity");
    topology.addSink(
        VIOLATIONS, violations, key, new JsonSerde<>(Violation.class).serializer(), "integrity");
    return topology;
  }

  private static Properties settings(String servers, String application, String folder) {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, folder);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    // For volume: larger polls, and larger batches that are compressed.
    settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
    settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5_000);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1 << 18);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
    return settings;
  }
}
