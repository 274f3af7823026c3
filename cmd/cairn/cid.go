package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
	"github.com/spf13/cobra"
)

func (a *app) cidCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cid CID…",
		Short: "Tell what a CID says: version, codec, hash, and how it is written",
		Args:  arguments(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			for i, name := range args {
				if i > 0 && !a.json {
					fmt.Fprintln(a.out)
				}
				// parseRef would refuse a CID that cannot name a block here.
				text, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(name, "/ipfs/"), "ipfs://"), "/")
				c, err := cid.Decode(text)
				if err == nil {
					err = a.showCID(c)
				}
				if err != nil {
					return fmt.Errorf("cid %s: %w", name, err)
				}
				if err := block.CheckCID(c); err != nil {
					a.remark("no block here can have this CID: %s", escape(err.Error()))
				}
			}
			return nil
		},
	}
}

// A shownCID describes a CID, in JSON.
type shownCID struct {
	CID     string            `json:"cid"`
	Version uint64            `json:"version"`
	Codec   string            `json:"codec"`
	Hash    string            `json:"hash"`
	Digest  string            `json:"digest"` // hexadecimal
	Length  int               `json:"length"` // of the digest, in bytes
	V0      string            `json:"v0,omitempty"`
	V1      string            `json:"v1"`
	Bases   map[string]string `json:"bases"` // of the CIDv1
}

func (a *app) showCID(c cid.Cid) error {
	mh, err := multihash.Decode(c.Hash())
	if err != nil {
		return err
	}
	v1 := block.V1(c)
	shown := shownCID{
		CID:     c.String(),
		Version: c.Version(),
		Codec:   codeName(c.Type()),
		Hash:    codeName(mh.Code),
		Digest:  hex.EncodeToString(mh.Digest),
		Length:  mh.Length,
		V1:      v1.String(),
		Bases:   make(map[string]string),
	}
	if c.Type() == block.DagPB && mh.Code == block.SHA2_256 && mh.Length == 32 {
		shown.V0 = cid.NewCidV0(c.Hash()).String()
	}
	for name, base := range multibase.Encodings {
		if base == multibase.Identity {
			continue // bytes, not text
		}
		if shown.Bases[name], err = v1.StringOfBase(base); err != nil {
			return err
		}
	}
	if a.json {
		return a.show(shown, "")
	}
	rows := [][2]string{
		{"cid", shown.CID},
		{"version", fmt.Sprint(shown.Version)},
		{"codec", fmt.Sprintf("%s (0x%x)", shown.Codec, c.Type())},
		{"hash", fmt.Sprintf("%s (0x%x)", shown.Hash, mh.Code)},
		{"digest", fmt.Sprintf("%s (%d bytes)", shown.Digest, shown.Length)},
	}
	if shown.V0 != "" {
		rows = append(rows, [2]string{"v0", shown.V0})
	}
	rows = append(rows, [2]string{"v1", shown.V1})
	for _, name := range slices.Sorted(maps.Keys(shown.Bases)) {
		rows = append(rows, [2]string{name, shown.Bases[name]})
	}
	return a.showTable(17, rows)
}

// codeName returns a multicodec's name, or its number if it has none.
func codeName(code uint64) string {
	return multicodec.Code(code).String()
}
