package ipld

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

var errJSON = fmt.Errorf("%w: not dag-json", block.ErrMalformed)

// jsonLink follows path through a dag-json value to the first link, as cborLink
// does. It reads the block once, a token at a time.
func jsonLink(p []byte, path []string) (c cid.Cid, used int, err error) {
	r := jsonReader{json.NewDecoder(bytes.NewReader(p))}
	r.d.UseNumber()
	for ; ; used++ {
		token, err := r.d.Token()
		if err != nil {
			return cid.Undef, used, errJSON
		}
		ends := used == len(path)
		key := ""
		if !ends {
			key = path[used]
		}
		found := false
		switch token {
		case json.Delim('{'):
			var link string
			if link, found, err = r.entry(key, ends); link != "" {
				c, err := block.ParseCID(link)
				return c, used, err
			}
		case json.Delim('['):
			if !ends {
				found, err = r.element(key)
			}
		}
		switch {
		case err != nil:
			return cid.Undef, used, err
		case ends:
			return cid.Undef, used, ErrNotBlock
		case !found:
			return cid.Undef, used + 1, errNoPart
		}
	}
}

type jsonReader struct{ d *json.Decoder }

// entry moves to the value of a key in the map whose brace was read. If the map
// is a link, entry returns the link's text instead. With onlyLink it looks for
// that alone.
func (r jsonReader) entry(key string, onlyLink bool) (link string, found bool, err error) {
	for first := true; r.d.More(); first = false {
		token, err := r.d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return "", false, errJSON
		}
		if first && name == "/" {
			token, err := r.d.Token()
			if err != nil {
				return "", false, errJSON
			}
			if text, ok := token.(string); ok && !r.d.More() {
				return text, false, nil
			}
			// The form of bytes, or one that dag-json does not have.
			return "", false, ErrNotBlock
		}
		if onlyLink {
			return "", false, nil
		}
		if name == key {
			return "", true, nil
		}
		if err := r.skip(); err != nil {
			return "", false, err
		}
	}
	return "", false, nil
}

// element moves to the element with the index key in the list whose bracket was
// read.
func (r jsonReader) element(key string) (found bool, err error) {
	i, ok := index(key)
	if !ok {
		return false, nil
	}
	for ; i > 0 && r.d.More(); i-- {
		if err := r.skip(); err != nil {
			return false, err
		}
	}
	return i == 0 && r.d.More(), nil
}

// skip skips a value.
func (r jsonReader) skip() error {
	for depth := 0; ; {
		token, err := r.d.Token()
		if err != nil {
			return errJSON
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
