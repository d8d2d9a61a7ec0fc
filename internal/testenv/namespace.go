package testenv

import (
	"crypto/rand"
	"strings"
	"testing"
)

// Namespace returns a name no other test has, on servers that many tests share: at most 24 characters, a lower-case letter
// followed by such letters, digits and underscores. It begins with part of the test's name, for whoever looks into a
// server.
func Namespace(t testing.TB) string {
	t.Helper()
	const (
		nameChars   = 15
		randomChars = 8
	)
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, name)
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "t" + name
	}
	return name[:min(len(name), nameChars)] + "_" + strings.ToLower(rand.Text()[:randomChars])
}
