package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/onehop/onehop/internal/cache"
)

// kafkaVersion is the release that Kafka starts. Its Scala version is part of the artifact's name.
const kafkaVersion = "4.1.0"

// kafkaProject is a Maven project whose only purpose is to name what to fetch.
const kafkaProject = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>onehop</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + kafkaVersion + `</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`

// kafkaJars returns the path of java and the directory of Kafka's jars.
func kafkaJars(ctx context.Context) (java, jars string, err error) {
	java, err = exec.LookPath("java")
	if err != nil {
		return "", "", fmt.Errorf("the Java runtime that Kafka needs is %w: run `apt-get install openjdk-17-jre-headless`",
			ErrNotInstalled)
	}
	jars, err = KafkaJars(ctx)
	return java, jars, err
}

// KafkaJars returns the directory with the jars of Apache Kafka and all they need, fetching them with Maven the first
// time.
func KafkaJars(ctx context.Context) (string, error) {
	entry, err := cache.Install(ctx, "kafka-"+kafkaVersion, func(ctx context.Context, dir string) error {
		maven, err := exec.LookPath("mvn")
		if err != nil {
			return fmt.Errorf("maven, which fetches Apache Kafka, is %w: run `apt-get install maven`", ErrNotInstalled)
		}
		project := filepath.Join(dir, "pom.xml")
		if err := os.WriteFile(project, []byte(kafkaProject), 0o644); err != nil {
			return err
		}
		return runTool(ctx, dir, maven, "-q", "-B", "-f", project, "dependency:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "lib"))
	})
	return filepath.Join(entry, "lib"), err
}

// runTool runs a program to its end; the error quotes the end of its output.
func runTool(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", cmd, err, lastBytes(output))
	}
	return nil
}
