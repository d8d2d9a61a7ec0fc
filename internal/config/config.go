// Package config reads a service's configuration from flags and the environment.
//
// A configuration is a struct with kong tags; every field has a flag and an ONEHOP_…
// variable, flags win. Fields of package config are embedded by the services that need
// them.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Common is what every service needs.
type Common struct {
	Namespace      string        `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions, and part of every key, table and topic name."`
	Postgres       string        `env:"ONEHOP_POSTGRES" placeholder:"URL" help:"Postgres, which holds definitions and history: postgres://user:password@host:5432/database."`
	Redis          string        `env:"ONEHOP_REDIS" placeholder:"URL" help:"Redis, which holds the online rows: redis://host:6379/0; several hosts, separated by commas, are a cluster."`
	Snapshot       string        `env:"ONEHOP_SNAPSHOT" placeholder:"FILE" help:"Where to keep a copy of the definitions, to start from while Postgres is away."`
	AdminListen    string        `env:"ONEHOP_ADMIN_LISTEN" default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Address of /metrics, /healthz, /readyz and /debug/pprof."`
	StartupTimeout time.Duration `env:"ONEHOP_STARTUP_TIMEOUT" default:"60s" help:"How long to wait at start for servers that do not answer."`
	DrainTimeout   time.Duration `env:"ONEHOP_DRAIN_TIMEOUT" default:"20s" help:"How long to finish work after SIGTERM."`
	LogFormat      string        `env:"ONEHOP_LOG_FORMAT" enum:"text,json" default:"text" help:"Format of the log: ${enum}."`
	LogLevel       string        `env:"ONEHOP_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Level of the log: ${enum}."`
	Trace          string        `env:"ONEHOP_TRACE" placeholder:"HOST:PORT" help:"OTLP collector (gRPC) to send traces to; without it there are none."`
}

// Kafka is what services that speak to Kafka need.
type Kafka struct {
	Kafka []string `env:"ONEHOP_KAFKA" sep:"," placeholder:"HOST:PORT,…" help:"Kafka's bootstrap brokers."`
}

// SchemaRegistry is what services that decode records need where a source's format has
// its schemas in a registry.
type SchemaRegistry struct {
	SchemaRegistry string `env:"ONEHOP_SCHEMA_REGISTRY" placeholder:"URL" help:"Schema registry with Confluent's API, for sources in avro and for protobuf without a descriptor set: http://host:8081. ONEHOP_SCHEMA_REGISTRY_USER and ONEHOP_SCHEMA_REGISTRY_PASSWORD are the credentials, if it wants any."`
}

// Credentials are the user and the password, which come from the environment alone: the
// arguments of a process are there for all to see.
func (r *SchemaRegistry) Credentials() (user, password string) {
	return os.Getenv("ONEHOP_SCHEMA_REGISTRY_USER"), os.Getenv("ONEHOP_SCHEMA_REGISTRY_PASSWORD")
}

// Check returns what is wrong with the registry's URL. It never repeats it.
func (r *SchemaRegistry) Check() error {
	if r.SchemaRegistry == "" {
		return nil
	}
	if err := CheckURL("--schema-registry", r.SchemaRegistry, "http", "https"); err != nil {
		return err
	}
	if u, err := url.Parse(r.SchemaRegistry); err != nil || u.User != nil {
		return errors.New("--schema-registry: the URL may hold no password: set ONEHOP_SCHEMA_REGISTRY_USER and ONEHOP_SCHEMA_REGISTRY_PASSWORD")
	}
	return nil
}

// Listen is what services that answer RPCs need.
type Listen struct {
	Listen string `env:"ONEHOP_LISTEN" default:"${listen}" placeholder:"HOST:PORT" help:"Address of the service: Connect, gRPC and gRPC-Web over HTTP/1.1 and cleartext HTTP/2."`
}

var namespaceForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// Check returns everything that is wrong with the common part.
func (c *Common) Check() error {
	var problems []error
	if !namespaceForm.MatchString(c.Namespace) {
		problems = append(problems, fmt.Errorf("--namespace: %q must be 1 to 31 of a-z, 0-9 and _, and begin with a letter", c.Namespace))
	}
	return errors.Join(append(problems,
		CheckURL("--postgres", c.Postgres, "postgres", "postgresql"),
		CheckURL("--redis", c.Redis, "redis", "rediss"),
		CheckAddress("--admin-listen", c.AdminListen))...)
}

// Check returns what is wrong with the brokers.
func (k *Kafka) Check() error {
	if len(k.Kafka) == 0 {
		return errors.New("--kafka: give the bootstrap brokers, for example --kafka 127.0.0.1:9092 or ONEHOP_KAFKA")
	}
	var problems []error
	for _, broker := range k.Kafka {
		problems = append(problems, CheckAddress("--kafka", broker))
	}
	return errors.Join(problems...)
}

// CheckURL says what is wrong with a required URL. It never repeats the URL, which may
// hold a password.
func CheckURL(flag, text string, schemes ...string) error {
	if text == "" {
		return fmt.Errorf("%s: give the URL, for example %s %s://127.0.0.1 or %s", flag, flag, schemes[0], Variable(flag))
	}
	first, _, _ := strings.Cut(text, ",")
	u, err := url.Parse(first)
	if err != nil {
		return fmt.Errorf("%s: not a URL", flag)
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return nil
		}
	}
	return fmt.Errorf("%s: the URL must begin with %s://", flag, schemes[0])
}

// CheckAddress says what is wrong with a host:port.
func CheckAddress(flag, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s: %q is not host:port", flag, address)
	}
	return nil
}

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return "ONEHOP_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_"))
}

// Checker is a configuration that can say everything that is wrong with it.
type Checker interface{ Check() error }

// Parse fills a service's configuration from the program's arguments and environment.
// It prints help and ends the program when asked for help, and when there are mistakes
// prints all of them and ends it with status 2. vars are for the tags.
func Parse(name, description string, config Checker, vars map[string]string) {
	parser, err := kong.New(config, kong.Name(name), kong.Description(description), kong.Vars(vars),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err == nil {
		_, err = parser.Parse(os.Args[1:])
	}
	if err == nil {
		err = config.Check()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\nRun %s --help for all settings.\n", name, strings.ReplaceAll(err.Error(), "\n", "\n"+name+": "), name)
		os.Exit(2)
	}
}
