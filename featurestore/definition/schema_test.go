package definition

import (
	"bytes"
	"os"
	"testing"
)

const schemaFile = "../../schemas/definitions.schema.json"

// TestSchemaIsFresh keeps the JSON Schema equal to the types that the parser uses.
func TestSchemaIsFresh(t *testing.T) {
	want := Schema()
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil { //nolint:gosec // It is for everybody.
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s is stale: run go generate ./featurestore/definition", schemaFile)
	}
}
