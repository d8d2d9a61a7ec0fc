// Package dev runs all of Onehop in one process, for people who try it or develop with
// it: the servers of package devstack and every service, with the definitions of a
// folder, which are applied again whenever its files change.
package dev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/onehop/onehop/internal/config"
)

// Config configures the process. Servers that are named are used, the others started.
type Config struct {
	Dir         string `arg:"" optional:"" help:"A project: its folders definitions and models are used. Without them, the folder itself has the definitions."`
	Definitions string `env:"ONEHOP_DEFINITIONS" placeholder:"DIR" help:"Definitions to apply, and to apply again when a file changes."`
	Models      string `env:"ONEHOP_MODELS" placeholder:"DIR" help:"The model repository; without one infer is not started."`
	ONNXRuntime string `name:"onnxruntime" env:"ONEHOP_ONNXRUNTIME" placeholder:"FILE" help:"ONNX Runtime's shared library; without it the system's, or the one that onehop setup fetched."`
	Namespace   string `env:"ONEHOP_NAMESPACE" placeholder:"NAME" help:"Namespace, in place of the one that the definitions name."`

	Kafka     []string `env:"ONEHOP_KAFKA" sep:"," placeholder:"HOST:PORT" help:"Use this Kafka."`
	RealKafka bool     `env:"ONEHOP_REAL_KAFKA" help:"Start Apache Kafka on the installed Java instead of the stand-in in this process."`
	Redis     string   `env:"ONEHOP_REDIS" placeholder:"URL" help:"Use this Redis."`
	Postgres  string   `env:"ONEHOP_POSTGRES" placeholder:"URL" help:"Use this Postgres."`
	Data      string   `env:"ONEHOP_DATA" placeholder:"DIR" help:"Keep the state of what is started here; without it nothing is kept."`

	config.SchemaRegistry `embed:""`

	ServeListen string `env:"ONEHOP_SERVE_LISTEN" placeholder:"HOST:PORT" help:"Address of serve; 127.0.0.1:8081, or any free port when that is taken."`
	InferListen string `env:"ONEHOP_INFER_LISTEN" placeholder:"HOST:PORT" help:"Address of infer; 127.0.0.1:8082, or any free port when that is taken."`
	SQLSpines   bool   `name:"sql-spines" env:"ONEHOP_SQL_SPINES" help:"Let the spines of training sets be queries."`
	LogFormat   string `env:"ONEHOP_LOG_FORMAT" enum:"text,json" default:"text" help:"Format of the log: ${enum}."`
	LogLevel    string `env:"ONEHOP_LOG_LEVEL" enum:"debug,info,warn,error" default:"warn" help:"Level of the log: ${enum}."`
	Trace       string `env:"ONEHOP_TRACE" placeholder:"HOST:PORT" help:"OTLP collector (gRPC) to send traces to."`

	// Out takes what people want to read, Log the log of the services.
	Out io.Writer `kong:"-"`
	Log io.Writer `kong:"-"`
	// Started is told the addresses once everything answers; nil for nobody.
	Started func(Addresses) `kong:"-"`
	// Poll is how often the definitions are looked at; 0 is every second.
	Poll time.Duration `kong:"-"`
}

// Addresses are where everything listens.
type Addresses struct {
	// Kafka, Redis and Postgres are what clients are configured with.
	Kafka           []string
	Redis, Postgres string
	// Public and Admin are the URLs of each service by its name; ingest has no public one.
	Public, Admin map[string]string
}

// Check returns everything that is wrong with the configuration.
func (c *Config) Check() error {
	var problems []error
	if c.RealKafka && len(c.Kafka) > 0 {
		problems = append(problems, errors.New("--real-kafka starts a Kafka, --kafka names one: give one of them"))
	}
	for _, broker := range c.Kafka {
		problems = append(problems, config.CheckAddress("--kafka", broker))
	}
	if c.Redis != "" {
		problems = append(problems, config.CheckURL("--redis", c.Redis, "redis", "rediss"))
	}
	if c.Postgres != "" {
		problems = append(problems, config.CheckURL("--postgres", c.Postgres, "postgres", "postgresql"))
	}
	for flag, address := range map[string]string{"--serve-listen": c.ServeListen, "--infer-listen": c.InferListen} {
		if address != "" {
			problems = append(problems, config.CheckAddress(flag, address))
		}
	}
	return errors.Join(append(problems, c.SchemaRegistry.Check())...)
}

// findDirs fills in, from the project folder, the folders that were not named.
func (c *Config) findDirs() error {
	if c.Dir == "" {
		return nil
	}
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no folder: name a project such as examples/movielens", c.Dir)
	}
	if c.Models == "" && isDir(filepath.Join(c.Dir, "models")) {
		c.Models = filepath.Join(c.Dir, "models")
	}
	if c.Definitions != "" {
		return nil
	}
	if c.Definitions = filepath.Join(c.Dir, "definitions"); isDir(c.Definitions) {
		return nil
	}
	c.Definitions = c.Dir
	files, err := filepath.Glob(filepath.Join(c.Dir, "*.y*ml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s has neither a folder definitions nor *.yaml files: write definitions there, or name them by --definitions", c.Dir)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
