package kubo

import (
	"errors"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// message is an error's message with the words by which Kubo's clients tell
// that a block isn't there.
func message(err error) string {
	message := err.Error()
	if !errors.Is(err, block.ErrNotFound) {
		return message
	}
	what := "node" // which stands for any
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" :,;\"'()/", r) }) {
		if len(word) < 46 {
			continue // shorter than any CID
		}
		if c, err := cid.Decode(word); err == nil {
			what = c.String()
		}
	}
	return message + ": ipld: could not find " + what
}
