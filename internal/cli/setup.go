package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/movielens"
	"github.com/onehop/onehop/internal/servers"
)

// setupCommand fetches what is used but not contained.
type setupCommand struct {
	Only   []string `enum:"onnxruntime,kafka,movielens" placeholder:"PART" help:"Fetch these only: ${enum}."`
	Strict bool     `env:"ONEHOP_SETUP_STRICT" help:"Fail when something is missing."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*setupCommand) Help() string {
	return "Everything is fetched with the package clients of this machine (pip or npm, Maven) and kept in the cache " +
		"directory, ONEHOP_CACHE. What is there already is not fetched again; what cannot be fetched is told, with what to " +
		"do about it, and is no failure unless --strict.\n\n" +
		"Example:\n\n    onehop setup --only onnxruntime,movielens"
}

// setupPart is one thing to fetch.
type setupPart struct {
	name, use string
	// fetch returns what there is now; report is told what is being done.
	fetch func(ctx context.Context, report func(string)) (found string, err error)
}

var setupParts = []setupPart{
	{"onnxruntime", "runs models", setupONNX},
	{"kafka", "a real Kafka for tests and onehop dev --real-kafka", setupKafka},
	{"movielens", "the data of the example", setupMovieLens},
}

// setupResult is what became of a part.
type setupResult struct {
	Part    string `json:"part"`
	Found   string `json:"found,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// Run fetches the parts one after the other.
func (c *setupCommand) Run(ctx context.Context, s Streams) error {
	var results []setupResult
	missing := 0
	for _, part := range setupParts {
		if len(c.Only) > 0 && !slices.Contains(c.Only, part.name) {
			continue
		}
		found, err := part.fetch(ctx, func(doing string) { fmt.Fprintf(s.Err, "%s: %s\n", part.name, doing) })
		if ctx.Err() != nil {
			return fmt.Errorf("setup was interrupted: %w", context.Cause(ctx))
		}
		result := setupResult{Part: part.name, Found: found}
		if err != nil {
			result.Missing = err.Error()
			missing++
		}
		results = append(results, result)
		if !c.JSON {
			writeSetup(s.Out, part, result)
		}
	}
	if c.JSON {
		if err := writeJSON(s.Out, results); err != nil {
			return err
		}
	}
	if missing > 0 && c.Strict {
		return exitError(exitFailed)
	}
	return nil
}

func writeSetup(w io.Writer, part setupPart, result setupResult) {
	if result.Missing != "" {
		fmt.Fprintf(w, "missing  %-12s %s (%s)\n", part.name, result.Missing, part.use)
		return
	}
	fmt.Fprintf(w, "ready    %-12s %s (%s)\n", part.name, result.Found, part.use)
}

func setupONNX(ctx context.Context, report func(string)) (string, error) {
	if library, err := onnx.FindLibrary(""); err == nil {
		return library, nil
	}
	return onnx.Fetch(ctx, report)
}

func setupKafka(ctx context.Context, report func(string)) (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", errors.New("the Java runtime that Kafka needs is not installed: run `apt-get install openjdk-17-jre-headless` or `brew install openjdk`")
	}
	report("looking for Apache Kafka's jars; the first time Maven fetches them (some 100 MB)")
	return servers.KafkaJars(ctx)
}

func setupMovieLens(ctx context.Context, report func(string)) (string, error) {
	report("looking for MovieLens 100K; the first time pip fetches it (2 MB)")
	data, err := movielens.Load(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d ratings of %d movies by %d users", len(data.Ratings), len(data.Movies), len(data.Users)), nil
}
