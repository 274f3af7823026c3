package control

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
)

// TestCutBatch ends the body of a batch at many places: nothing of it is done.
func TestCutBatch(t *testing.T) {
	s := serve(t, nil)
	ctx := t.Context()
	k := newBlock(t, block.Raw, noise(1000, 1))
	var body bytes.Buffer
	body.WriteString("--b\r\nContent-Disposition: form-data; name=\"changes\"\r\n\r\n" +
		`{"alias":"it","cid":"` + k.CID().String() + `"}` + "\n\r\n--b\r\nContent-Disposition: form-data; name=\"blocks\"\r\n\r\n")
	w, err := car.NewWriter(&body, nil)
	if err == nil {
		err = w.Put(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	body.WriteString("\r\n--b--\r\n")
	apply := func(body []byte) error {
		var in io.Reader = bytes.NewReader(body)
		_, err := ApplyBatch.Do(ctx, s.tcp, BatchArgs{"b", in})
		return err
	}
	whole := body.Bytes()
	end := len(whole) - len("--\r\n") // the boundary alone would be the next part's
	for n := 0; n < end; n += 1 + n/20 {
		if apply(whole[:n]) == nil {
			t.Fatalf("the first %d of %d bytes: got no error", n, len(whole))
		}
		if _, err := s.node.Resolve(ctx, "it"); !errors.Is(err, store.ErrNoAlias) {
			t.Fatalf("the first %d of %d bytes: an alias is set, %v", n, len(whole), err)
		}
	}
	if err := apply(whole); err != nil {
		t.Errorf("whole: got %v", err)
	}
	for _, bad := range []string{
		`{"alias":"it"}`, `[]`, `{`, `{"alias":"x","cid":"y"}`, `{"remove":5}`, `{"remove":"none"}`, `{"alias":"x","cid":"bafkqabtimvwgy3yk","hold":true}`,
		`{"alias":"x","cid":"` + k.CID().String() + `","options":{"selection":{"skip":["y"]}}}`,
	} {
		if apply([]byte(changesBody(bad))) == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
	// Blocks that aren't what they claim.
	forged := bytes.Clone(whole)
	forged[len(forged)-100] ^= 1
	if err := apply(forged); !errors.Is(err, block.ErrHashMismatch) {
		t.Errorf("forged: got %v, want ErrHashMismatch", err)
	}
	for what, args := range map[string]BatchArgs{
		"no boundary":       {"", strings.NewReader("x")},
		"a part of its own": {"b", strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n--b--\r\n")},
	} {
		if _, err := ApplyBatch.Do(ctx, s.tcp, args); !errors.Is(err, httpapi.ErrBadRequest) {
			t.Errorf("%s: got %v, want ErrBadRequest", what, err)
		}
	}
}
