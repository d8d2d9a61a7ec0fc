package definition

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// lostScalar is the first scalar of a text that is not in its syntax tree, nil if all
// are: the YAML parser must not drop what the decoder would have refused.
func lostScalar(text []byte) *token.Token {
	tree := parseYAML(File{Name: "text", Text: text}, &report{})
	found := scalars{}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			ast.Walk(found, doc.Body)
		}
	}
	for _, t := range lexer.Tokenize(string(text)) {
		switch t.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.FloatType, token.BoolType:
			if !found[placeOf("", t)] {
				return t
			}
		}
	}
	return nil
}

type scalars map[place]bool

// Visit notes where a scalar is.
func (s scalars) Visit(n ast.Node) ast.Visitor {
	if _, ok := n.(ast.ScalarNode); ok {
		s[placeOf("", n.GetToken())] = true
	}
	return s
}
