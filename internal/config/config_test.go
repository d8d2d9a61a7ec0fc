package config

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAllMistakesAtOnce wants every mistake of a configuration in one error, and no
// password in it.
func TestAllMistakesAtOnce(t *testing.T) {
	c := Common{Namespace: "Bad Name", Postgres: "mysql://user:secret@host/db", Redis: "", AdminListen: "8080"}
	err := c.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--namespace", "--postgres: the URL must begin with postgres://", "--redis: give the URL", "ONEHOP_REDIS", "--admin-listen"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error repeats a password: %v", err)
	}
	c = Common{Namespace: "good", Postgres: "postgres://h/db", Redis: "redis://a:1,b:2", AdminListen: "127.0.0.1:0"}
	if err := c.Check(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	if err := (&Kafka{Kafka: []string{"host"}}).Check(); err == nil || !strings.Contains(err.Error(), `"host"`) {
		t.Errorf("a broker without a port: %v", err)
	}
}

func TestSchemaRegistry(t *testing.T) {
	for url, want := range map[string]string{
		"": "", "http://127.0.0.1:8081": "", "https://registry": "",
		"kafka://host":            "must begin with http://",
		"http://ann:secret@host":  "may hold no password",
		"https://ann:secret@host": "ONEHOP_SCHEMA_REGISTRY_PASSWORD",
	} {
		err := (&SchemaRegistry{SchemaRegistry: url}).Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	t.Setenv("ONEHOP_SCHEMA_REGISTRY_USER", "ann")
	t.Setenv("ONEHOP_SCHEMA_REGISTRY_PASSWORD", "secret")
	if user, password := new(SchemaRegistry).Credentials(); user != "ann" || password != "secret" {
		t.Errorf("credentials %q and %q", user, password)
	}
}
