package servers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka starts Apache Kafka in KRaft mode, broker and controller in one process, on the installed Java runtime; its jars
// come from the Maven repository the first time. Topics aren't created automatically. Options.NoSync means nothing here:
// Kafka leaves syncing to the system as it always does.
func Kafka(ctx context.Context, o Options) (*Server, error) {
	port, err := o.port(ctx)
	if err != nil {
		return nil, err
	}
	controller, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	return startKafka(ctx, o, kafkaNode{
		id: 1, port: port, controller: controller, voters: "1@" + localAddr(controller), cluster: newClusterID(), heap: "-Xmx512m", replicas: 1,
	})
}

// kafkaNode is one server of a cluster.
type kafkaNode struct {
	id               int
	port, controller int
	voters           string // all controllers, id@host:port, by commas
	cluster          string // id
	heap             string // argument to java
	replicas         int    // of topics
}

func newClusterID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // Never fails, says its documentation.
	return base64.RawURLEncoding.EncodeToString(id)
}

func startKafka(ctx context.Context, o Options, node kafkaNode) (*Server, error) {
	java, jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	dir, keep, err := newDir(o, "kafka")
	if err != nil {
		return nil, err
	}
	settings, err := formatKafka(ctx, java, jars, dir, node.cluster, node.settings(dir, o.Behind))
	if err != nil {
		return nil, errors.Join(err, discardDir(dir, keep))
	}
	args := kafkaJava(jars, "-Xms128m", node.heap, "kafka.Kafka", settings)
	addr := localAddr(node.port)
	return start(ctx, spec{
		name: "Apache Kafka", addr: addr, url: addr, quit: syscall.SIGTERM,
		command: func() *command { return &command{path: java, args: args} },
		ready: func(ctx context.Context) (string, error) {
			if _, err := KafkaVersion(ctx, []string{addr}); err != nil {
				return "", err
			}
			return kafkaVersion, nil // The jars we started; a broker tells a release only roughly.
		},
	}, dir, keep, o.StartTimeout)
}

// kafkaJava returns the arguments to java: a small, quickly started runtime, then what to run.
func kafkaJava(jars string, args ...string) []string {
	return append([]string{
		"-cp", filepath.Join(jars, "*"), "-XX:+UseSerialGC", "-Xshare:auto",
		"-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true",
	}, args...)
}

func (n *kafkaNode) settings(dir string, behind *ProxyPorts) string {
	replicas, least := strconv.Itoa(n.replicas), strconv.Itoa(max(1, n.replicas-1))
	listeners := "PLAINTEXT://" + localAddr(n.port)
	advertised := listeners
	if behind != nil {
		listeners += ",PROXIED://" + localAddr(behind.Listen)
		advertised += ",PROXIED://" + localAddr(behind.Advertise)
	}
	lines := []string{
		"process.roles=broker,controller",
		"node.id=" + strconv.Itoa(n.id),
		"controller.quorum.voters=" + n.voters,
		"listeners=" + listeners + ",CONTROLLER://" + localAddr(n.controller),
		"advertised.listeners=" + advertised,
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + filepath.Join(dir, "data"),
		"auto.create.topics.enable=false",
		"num.partitions=4",
		"offsets.topic.num.partitions=4",
		"default.replication.factor=" + replicas,
		"min.insync.replicas=" + least,
		"offsets.topic.replication.factor=" + replicas,
		"transaction.state.log.num.partitions=4",
		"transaction.state.log.replication.factor=" + replicas,
		"transaction.state.log.min.isr=" + least,
		"share.coordinator.state.topic.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=" + replicas,
		"share.coordinator.state.topic.min.isr=" + least,
		"broker.session.timeout.ms=3000", // A broker that was killed may come back only after that time.
		"broker.heartbeat.interval.ms=500",
		"group.initial.rebalance.delay.ms=0",
		"log.cleaner.dedupe.buffer.size=8388608",
	}
	return strings.Join(lines, "\n") + "\n"
}

// formatKafka writes the settings and prepares the data directory unless it holds data already. It returns the path of
// the settings.
func formatKafka(ctx context.Context, java, jars, dir, cluster, settings string) (string, error) {
	path := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(path, []byte(settings), 0o644); err != nil {
		return "", fmt.Errorf("settings of Kafka: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	format := exec.CommandContext(ctx, java,
		kafkaJava(jars, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "--cluster-id="+cluster, "-c", path)...)
	if output, err := format.CombinedOutput(); err != nil {
		return "", fmt.Errorf("format Kafka's storage in %s: %w:\n%s", dir, err, lastBytes(output))
	}
	return path, nil
}

func lastBytes(output []byte) string {
	return strings.TrimSpace(string(output[max(0, len(output)-logTail):]))
}

// KafkaVersion asks the cluster which release it is, as far as a release can be told from what its brokers understand, such
// as "4.1". It answers only when the cluster has a controller and a broker, so that topics can be made.
func KafkaVersion(ctx context.Context, brokers []string) (version string, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequestRetries(0))
	if err != nil {
		return "", fmt.Errorf("kafka brokers: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	metadata, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return "", err
	}
	if metadata.Controller < 0 || len(metadata.Brokers) == 0 {
		return "", errors.New("the cluster has no controller or no broker yet")
	}
	versions, err := admin.ApiVersions(ctx)
	if err != nil {
		return "", err
	}
	for _, broker := range versions {
		if broker.Err == nil {
			return strings.TrimPrefix(broker.VersionGuess(), "v"), nil
		}
		err = broker.Err
	}
	return "", errors.Join(errors.New("no broker tells its version"), err)
}
