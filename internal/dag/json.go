package dag

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
)

// scanJSON adds the links of a dag-json block (spec:
// ipld.io/specs/codecs/dag-json): each {"/": "<CID>"}. It accepts any JSON of
// RFC 8259, also with white space and unsorted keys. A map that begins like a link
// or like bytes but has more entries is a map, as in go-ipld-prime; the spec would
// refuse it.
func scanJSON(l *linkSet, p []byte) error {
	s := jsonScanner{p: p, links: l}
	if _, err := s.value(0); err != nil {
		return err
	}
	if s.space(); s.i < len(s.p) {
		return s.malformed("data after the value")
	}
	return nil
}

type jsonScanner struct {
	p     []byte
	i     int // the offset of the next byte
	links *linkSet
}

func (s *jsonScanner) malformed(what string) error {
	return fmt.Errorf("%w: JSON at byte %d: %s", block.ErrMalformed, s.i, what)
}

// space skips white space.
func (s *jsonScanner) space() {
	for s.i < len(s.p) && (s.p[s.i] == ' ' || s.p[s.i] == '\n' || s.p[s.i] == '\t' || s.p[s.i] == '\r') {
		s.i++
	}
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *jsonScanner) peek() byte {
	s.space()
	if s.i < len(s.p) {
		return s.p[s.i]
	}
	return 0
}

// A jsonValue is what object needs to know of a value in it.
type jsonValue struct {
	isText  bool   // a string
	isBytes bool   // a map of one entry, "bytes", that is a string
	text    string // that string
}

func (s *jsonScanner) value(depth int) (jsonValue, error) {
	if depth >= maxDepth {
		return jsonValue{}, s.malformed("nested too deep")
	}
	switch b := s.peek(); b {
	case '"':
		text, err := s.text()
		return jsonValue{isText: true, text: text}, err
	case '{':
		return s.object(depth)
	case '[':
		return jsonValue{}, s.array(depth)
	case 't':
		return jsonValue{}, s.word("true")
	case 'f':
		return jsonValue{}, s.word("false")
	case 'n':
		return jsonValue{}, s.word("null")
	default:
		return jsonValue{}, s.number()
	}
}

func (s *jsonScanner) array(depth int) error {
	s.i++ // [
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		if _, err := s.value(depth + 1); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.malformed("neither comma nor end in a list")
		}
	}
}

// object scans a map, which may turn out to be a link or bytes.
func (s *jsonScanner) object(depth int) (jsonValue, error) {
	s.i++ // {
	if s.peek() == '}' {
		s.i++
		return jsonValue{}, nil
	}
	var key string
	var value jsonValue
	for n := 1; ; n++ {
		if s.peek() != '"' {
			return jsonValue{}, s.malformed("invalid map key: want a string")
		}
		var err error
		if key, err = s.text(); err != nil {
			return jsonValue{}, err
		}
		if s.peek() != ':' {
			return jsonValue{}, s.malformed("no colon after a map key")
		}
		s.i++
		if value, err = s.value(depth + 1); err != nil {
			return jsonValue{}, err
		}
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			if n > 1 {
				return jsonValue{}, nil
			}
			return s.single(key, value)
		default:
			return jsonValue{}, s.malformed("neither comma nor end in a map")
		}
	}
}

// single handles a map of one entry: a link, bytes, or just a map.
func (s *jsonScanner) single(key string, v jsonValue) (jsonValue, error) {
	switch {
	case key == "bytes" && v.isText:
		return jsonValue{isBytes: true, text: v.text}, nil
	case key == "/" && v.isText:
		return jsonValue{}, s.links.addText(v.text)
	case key == "/" && v.isBytes:
		_, err := base64.RawStdEncoding.DecodeString(v.text)
		if err != nil {
			_, err = base64.StdEncoding.DecodeString(v.text)
		}
		if err != nil {
			return jsonValue{}, s.malformed("invalid bytes: want base64")
		}
	}
	return jsonValue{}, nil
}

// text takes a string and returns its content.
func (s *jsonScanner) text() (string, error) {
	start := s.i
	escaped := false
	for s.i++; s.i < len(s.p); s.i++ {
		switch b := s.p[s.i]; {
		case b == '\\':
			escaped = true
			s.i++
		case b < ' ':
			return "", s.malformed("a control character in a string")
		case b == '"':
			s.i++
			quoted := s.p[start:s.i]
			if !escaped {
				return string(quoted[1 : len(quoted)-1]), nil
			}
			var text string
			if err := json.Unmarshal(quoted, &text); err != nil {
				return "", s.malformed("a bad escape in a string")
			}
			return text, nil
		}
	}
	return "", s.malformed("a string without end")
}

func (s *jsonScanner) word(w string) error {
	if !bytes.HasPrefix(s.p[s.i:], []byte(w)) {
		return s.malformed("no value")
	}
	s.i += len(w)
	return nil
}

// number takes a number as in RFC 8259, section 6.
func (s *jsonScanner) number() error {
	if s.next("-") {
		s.i++
	}
	if s.next("0") {
		s.i++
	} else if s.digits() == 0 {
		return s.malformed("no value")
	}
	if s.next(".") {
		s.i++
		if s.digits() == 0 {
			return s.malformed("a number without digits after its point")
		}
	}
	if s.next("eE") {
		s.i++
		if s.next("+-") {
			s.i++
		}
		if s.digits() == 0 {
			return s.malformed("a number without digits in its exponent")
		}
	}
	return nil
}

// next reports whether the next byte is one of those.
func (s *jsonScanner) next(of string) bool {
	return s.i < len(s.p) && bytes.IndexByte([]byte(of), s.p[s.i]) >= 0
}

func (s *jsonScanner) digits() int {
	start := s.i
	for s.i < len(s.p) && s.p[s.i] >= '0' && s.p[s.i] <= '9' {
		s.i++
	}
	return s.i - start
}
