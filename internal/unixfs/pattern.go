package unixfs

import (
	"fmt"
	"strings"
)

// A pattern is one line in the syntax of gitignore (git's documentation,
// "gitignore", and what git does where that says nothing). It matches bytes, not
// characters, as git does.
type pattern struct {
	tokens   []token
	negated  bool
	dirOnly  bool
	anchored bool // it matches a whole path; otherwise the last name of one
}

// A token is one step of a pattern.
type token struct {
	kind tokenKind
	char byte       // of tokenChar
	set  *[256]bool // of tokenSet
}

type tokenKind uint8

const (
	tokenChar  tokenKind = iota // this byte
	tokenAny                    // any byte but a slash
	tokenSet                    // one byte of a set without the slash
	tokenStar                   // any bytes but slashes
	tokenStars                  // any bytes
	tokenDirs                   // nothing, or any bytes up to a slash
)

// parsePattern parses a line. ok is false for a blank line, a comment, and a
// pattern that can never match; err says what is wrong with the latter.
func parsePattern(line string) (p pattern, ok bool, err error) {
	text := trimSpaces(line)
	if strings.HasPrefix(text, "#") {
		return pattern{}, false, nil
	}
	if p.negated = strings.HasPrefix(text, "!"); p.negated {
		text = text[1:]
	}
	if p.dirOnly = strings.HasSuffix(text, "/"); p.dirOnly {
		text = text[:len(text)-1]
	}
	p.anchored = strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return pattern{}, false, nil
	}
	if p.tokens, err = parseTokens(text, p.anchored); err == nil && strings.Contains("/"+text, "//") {
		err = fmt.Errorf("a name is empty")
	}
	if err != nil {
		return pattern{}, false, fmt.Errorf("invalid pattern %q: %w", line, err)
	}
	return p, true, nil
}

// trimSpaces removes spaces at the end of a line, unless a backslash stands before
// the first of them.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// parseTokens parses a pattern, or the pattern of a single name, in which no
// asterisk means more than any other.
func parseTokens(text string, anchored bool) (tokens []token, err error) {
	wild := strings.IndexAny(text, `*?[\`) // git compares what stands before it apart
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '?':
			tokens = append(tokens, token{kind: tokenAny})
		case '[':
			set, n, err := parseSet(text[i:])
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, token{kind: tokenSet, set: set})
			i += n - 1
		case '*':
			begin := i
			for i+1 < len(text) && text[i+1] == '*' {
				i++
			}
			rest := text[i+1:]
			alone := anchored && i > begin && (begin == wild || text[begin-1] == '/')
			switch {
			case alone && strings.HasPrefix(rest, "/"):
				tokens = append(tokens, token{kind: tokenDirs})
				i++
			case alone && (rest == "" || strings.HasPrefix(rest, `\/`)):
				tokens = append(tokens, token{kind: tokenStars})
			default:
				tokens = append(tokens, token{kind: tokenStar})
			}
		case '\\':
			if i++; i == len(text) {
				return nil, fmt.Errorf("a backslash at its end")
			}
			tokens = append(tokens, token{kind: tokenChar, char: text[i]})
		default:
			tokens = append(tokens, token{kind: tokenChar, char: c})
		}
	}
	return tokens, nil
}

// parseSet parses the bracket expression that text begins with, and returns its
// length.
func parseSet(text string) (set *[256]bool, n int, err error) {
	set = new([256]bool)
	i := 1
	negated := i < len(text) && (text[i] == '!' || text[i] == '^')
	if negated {
		i++
	}
	unclosed := fmt.Errorf("a bracket expression is not closed")
	last := -1 // the character that a range may begin with
	for first := true; ; first = false {
		if i >= len(text) {
			return nil, 0, unclosed
		}
		c := text[i]
		switch {
		case c == ']' && !first:
			for b := range set {
				set[b] = set[b] != negated
			}
			set['/'] = false
			return set, i + 1, nil
		case c == '-' && last >= 0 && i+1 < len(text) && text[i+1] != ']':
			i++
			if text[i] == '\\' {
				if i++; i >= len(text) {
					return nil, 0, unclosed
				}
			}
			for b := last; b <= int(text[i]); b++ {
				set[b] = true
			}
			last = -1
		case c == '[' && strings.HasPrefix(text[i:], "[:") && classEnd(text[i:]) > 0:
			end := i + classEnd(text[i:])
			name := text[i+2 : end]
			in, known := classes[name]
			if !known {
				return nil, 0, fmt.Errorf("there is no character class %q", name)
			}
			for b := range set {
				set[b] = set[b] || b < 0x80 && in(byte(b))
			}
			i, last = end+1, -1
		default:
			if c == '\\' {
				if i++; i >= len(text) {
					return nil, 0, unclosed
				}
			}
			set[text[i]] = true
			last = int(text[i])
		}
		i++
	}
}

// classEnd returns where the ":]" of a character class stands that text begins
// with, 0 if that is no class.
func classEnd(text string) int {
	end := strings.IndexByte(text[2:], ']') + 2
	if end < 3 || text[end-1] != ':' {
		return 0
	}
	return end - 1
}

// classes are the character classes of POSIX, in ASCII.
var classes = map[string]func(byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
	"print":  func(c byte) bool { return c == ' ' || isGraph(c) },
	"punct":  func(c byte) bool { return isGraph(c) && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' },
	"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' },
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isGraph(c byte) bool { return ' ' < c && c < 0x7f }

// matches reports whether the pattern matches a path, given as its names.
func (p *pattern) matches(names []string) bool {
	if !p.anchored {
		return matchTokens(p.tokens, names[len(names)-1])
	}
	return matchTokens(p.tokens, strings.Join(names, "/"))
}

// matchTokens reports whether tokens match all of text. Its steps are at most the
// product of both: after a mismatch it extends the last tokenStar by a byte, or
// else, since that can't pass a slash, the last token that can.
func matchTokens(tokens []token, text string) bool {
	type retry struct{ token, text int }
	star, wide := retry{-1, 0}, retry{-1, 0}
	i, at := 0, 0
	for {
		switch {
		case i == len(tokens) && at == len(text):
			return true
		case i == len(tokens):
		case tokens[i].kind == tokenStar:
			i++
			star = retry{i, at}
			continue
		case tokens[i].kind >= tokenStars:
			i++
			star, wide = retry{-1, 0}, retry{i, at}
			continue
		case at < len(text) && tokens[i].matches(text[at]):
			i, at = i+1, at+1
			continue
		}
		switch {
		case star.token >= 0 && star.text < len(text) && text[star.text] != '/':
			star.text++
			i, at = star.token, star.text
		case wide.token < 0 || wide.text >= len(text):
			return false
		default:
			skip := 1
			if tokens[wide.token-1].kind == tokenDirs {
				if skip += strings.IndexByte(text[wide.text:], '/'); skip == 0 {
					return false
				}
			}
			wide.text += skip
			star = retry{-1, 0}
			i, at = wide.token, wide.text
		}
	}
}

// matches reports whether a token of one byte matches c.
func (t token) matches(c byte) bool {
	switch t.kind {
	case tokenChar:
		return c == t.char
	case tokenAny:
		return c != '/'
	}
	return t.set[c]
}
