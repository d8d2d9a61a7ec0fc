package telemetry

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// alert is a rule of Prometheus.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) (alerts []alert) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		alerts = append(alerts, group.Rules...)
	}
	return alerts
}

// TestAlertsAskForWhatThereIs finds every metric and every label of the rules in the
// sources: a rule over a name that nothing exports never fires.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	metrics := metricsOfSources(t)
	alerts := readAlerts(t)
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts were found", len(alerts))
	}
	names := regexp.MustCompile(`onehop_[a-z_]+`)
	labels := regexp.MustCompile(`(?:by \(([a-z, ]+)\))|\{([a-z]+)=`)
	for _, a := range alerts {
		used := names.FindAllString(a.Expr, -1)
		if len(used) == 0 {
			t.Errorf("%s asks for no metric of ours", a.Alert)
		}
		known := []string{"instance", "le"}
		for _, name := range used {
			declared, ok := metrics[regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")]
			if !ok {
				t.Errorf("%s: nothing exports %s", a.Alert, name)
			}
			known = append(known, declared...)
		}
		for _, match := range labels.FindAllStringSubmatch(a.Expr, -1) {
			for label := range strings.SplitSeq(match[1]+match[2], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(known, label) {
					t.Errorf("%s: %v have no label %q", a.Alert, used, label)
				}
			}
		}
		if strings.Count(a.Expr, "(") != strings.Count(a.Expr, ")") {
			t.Errorf("%s: parentheses do not match", a.Alert)
		}
	}
}

// TestAlertsLeadToTheirRunbook finds the section that each alert names.
func TestAlertsLeadToTheirRunbook(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllSubmatch(page, -1) {
		anchors[strings.ReplaceAll(strings.ToLower(string(heading[1])), " ", "-")] = true
	}
	for _, a := range readAlerts(t) {
		_, anchor, _ := strings.Cut(a.Annotations["runbook_url"], "docs/operating.md#")
		if !anchors[anchor] || anchor != strings.ToLower(a.Alert) {
			t.Errorf("%s leads to %q, which is no section of its own in docs/operating.md", a.Alert, a.Annotations["runbook_url"])
		}
		if a.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
			t.Errorf("%s needs a summary and severity page or ticket", a.Alert)
		}
	}
}
