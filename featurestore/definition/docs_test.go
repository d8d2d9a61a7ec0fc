package definition_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore/definition"
)

// TestDocumentedDefinitionsAreValid checks the example that docs/defining.md spreads
// over its sections: together its blocks make one catalog.
func TestDocumentedDefinitionsAreValid(t *testing.T) {
	text, err := os.ReadFile("../../docs/defining.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []definition.File
	for i, part := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		if strings.HasPrefix(block, "#") || strings.HasPrefix(block, "model:") {
			continue // the hint for editors, and a model.yaml
		}
		files = append(files, definition.File{Name: fmt.Sprintf("block %d", i+1), Text: []byte(block)})
	}
	catalog, err := definition.Options{}.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	if len(catalog.Views) != 4 || len(catalog.Services) != 1 || len(catalog.Models) != 1 {
		t.Errorf("%d views, %d services and %d models are documented, want 4, 1 and 1", len(catalog.Views), len(catalog.Services), len(catalog.Models))
	}
}
