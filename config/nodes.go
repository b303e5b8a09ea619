package config

import (
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// lineOf returns the line where a node starts, or 0 if it is unknown.
func lineOf(node ast.Node) int {
	if tk := node.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 0
}

func isNull(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, null := node.(*ast.NullNode)
	return null
}

// textOf returns the text of a node and whether the node is a text.
func textOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case ast.MapNode:
		return splitText(n)
	default:
		return "", false
	}
}

// splitText returns a text that go-yaml parses as a mapping, contrary to YAML. It happens to
// env:NAME, without whitespace after the colon, in a list within braces, such as {secrets:
// [env:NAME]}.
func splitText(mapping ast.MapNode) (string, bool) {
	entries := mapping.MapRange()
	if !entries.Next() {
		return "", false
	}
	entry := entries.KeyValue()
	if entries.Next() {
		return "", false
	}
	name, colon, rest := entry.Key.GetToken(), entry.GetToken(), entry.Value.GetToken()
	if name.Type != token.StringType || rest.Type != token.StringType && rest.Type != token.IntegerType {
		return "", false
	}
	// The colon must directly follow the name, and the rest must directly follow the colon.
	nameEnd := name.Position.Offset + utf8.RuneCountInString(name.Value)
	if colon.Position.Offset != nameEnd || rest.Position.Offset != nameEnd+1 {
		return "", false
	}
	return name.Value + ":" + rest.Value, true
}

// wholeOf parses a decimal number. It rejects 0x10, 1_000 and 007, because YAML readers
// interpret them differently.
func wholeOf(node ast.Node) (int, bool) {
	number, ok := node.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(number.Token.Value)
	return n, err == nil && strconv.Itoa(n) == number.Token.Value
}

// describe returns the kind of a node, never its value.
func describe(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode:
		if _, ok := wholeOf(node); ok {
			return "a bare number"
		}
		return "a number that is not plain decimal"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a fraction"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, an alias or a tag, which are not supported"
	default:
		return "something else"
	}
}

// quotesHint returns a hint for a value that needs quotes to be a text, or "".
func quotesHint(node ast.Node) string {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		return " (put it in quotes)"
	default:
		return ""
	}
}
