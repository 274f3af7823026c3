package kubo

import (
	"errors"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// message returns an error's message. For a missing block it adds the words that
// Kubo's clients look for.
func message(err error) string {
	message := err.Error()
	if !errors.Is(err, block.ErrNotFound) {
		return message
	}
	what := "node" // any block
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" :,;\"'()/", r) }) {
		if len(word) < 46 {
			continue // too short for a CID
		}
		if c, err := cid.Decode(word); err == nil {
			what = c.String()
		}
	}
	return message + ": ipld: could not find " + what
}
