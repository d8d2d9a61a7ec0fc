package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// series is one series of a service's metrics: a counter's or a gauge's value.
type series struct {
	labels map[string]string
	value  float64
}

// scrape reads the series of some metrics of a service at its admin address.
func scrape(ctx context.Context, admin string, names ...string) (found map[string][]series, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for metrics: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	found = map[string][]series{}
	for _, name := range names {
		for _, m := range families[name].GetMetric() {
			found[name] = append(found[name], series{labels: labelsOf(m), value: m.GetCounter().GetValue() + m.GetGauge().GetValue()})
		}
	}
	return found, nil
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}
