package control

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// maxKeyFile bounds a private key that is imported, in bytes: an RSA key of 8192
// bits has 6,500 in PEM.
const maxKeyFile = 64 << 10

// A KeyItem is a key in a list. Failed: its file can't be read, and only its name
// is known.
type KeyItem struct {
	cairn.Key
	Failed *Failure `json:"failed,omitempty"`
}

// ListKeys lists the keys, the node's identity first.
var ListKeys = Stream[struct{}, KeyItem]{
	Path: "key/ls",
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) iter.Seq2[KeyItem, error] {
		return func(yield func(KeyItem, error) bool) {
			keys, err := n.Keys()
			if err != nil {
				yield(KeyItem{}, err)
				return
			}
			for k, err := range keys.List() {
				if !yield(KeyItem{k, failureOf(err)}, nil) {
					return
				}
			}
		}
	},
}

// KeyArgs name a key, by its name or id.
type KeyArgs struct {
	Name string `json:"name"`
}

// GenerateKey makes a key of a new name. Errors: cairn.ErrKeyExists.
var GenerateKey = Call[KeyArgs, cairn.Key]{
	Path: "key/gen",
	Run: func(_ context.Context, n *cairn.Node, a KeyArgs) (cairn.Key, error) {
		return withKeys(n, func(k *cairn.Keys) (cairn.Key, error) { return k.Generate(a.Name) })
	},
}

// RenameArgs name a key, and its new name.
type RenameArgs struct {
	Name string `json:"name"`
	To   string `json:"to"`
}

// RenameKey gives a key another name.
var RenameKey = Call[RenameArgs, cairn.Key]{
	Path: "key/rename",
	Run: func(_ context.Context, n *cairn.Node, a RenameArgs) (cairn.Key, error) {
		return withKeys(n, func(k *cairn.Keys) (cairn.Key, error) { return k.Rename(a.Name, a.To) })
	},
}

// RemoveKeysArgs name keys. DryRun removes nothing.
type RemoveKeysArgs struct {
	Names  []string `json:"names"`
	DryRun bool     `json:"dryRun,omitempty"`
}

// RemoveKeys removes keys for good, all or none, and returns them.
var RemoveKeys = Call[RemoveKeysArgs, []cairn.Key]{
	Path: "key/rm",
	Run: func(_ context.Context, n *cairn.Node, a RemoveKeysArgs) ([]cairn.Key, error) {
		return withKeys(n, func(k *cairn.Keys) ([]cairn.Key, error) { return k.RemoveAll(a.Names, a.DryRun) })
	},
}

// ExportKeyArgs name a key, and the format to write it in.
type ExportKeyArgs struct {
	Name   string          `json:"name"`
	Format cairn.KeyFormat `json:"format"`
}

// ExportKey returns a private key, not encrypted.
var ExportKey = Call[ExportKeyArgs, []byte]{
	Path:  "key/export",
	Scope: httpapi.SameMachine,
	Run: func(_ context.Context, n *cairn.Node, a ExportKeyArgs) ([]byte, error) {
		return withKeys(n, func(k *cairn.Keys) ([]byte, error) { return k.Export(a.Name, a.Format) })
	},
}

// ImportKeyArgs are a private key that ExportKey wrote, and the name for it.
type ImportKeyArgs struct {
	Name string    `json:"name"`
	Key  io.Reader `json:"-"`
}

// ImportKey takes in a private key.
var ImportKey = Call[ImportKeyArgs, cairn.Key]{
	Path:  "key/import",
	Scope: httpapi.SameMachine,
	Body:  func(a *ImportKeyArgs) *io.Reader { return &a.Key },
	Run: func(_ context.Context, n *cairn.Node, a ImportKeyArgs) (cairn.Key, error) {
		data, err := io.ReadAll(io.LimitReader(a.Key, maxKeyFile+1))
		if err == nil && len(data) > maxKeyFile {
			err = fmt.Errorf("%w: a key of more than %d bytes", cairn.ErrNameInvalid, maxKeyFile)
		}
		if err != nil {
			return cairn.Key{}, err
		}
		return withKeys(n, func(k *cairn.Keys) (cairn.Key, error) { return k.Import(a.Name, data) })
	},
}

func withKeys[T any](n *cairn.Node, do func(*cairn.Keys) (T, error)) (T, error) {
	keys, err := n.Keys()
	if err != nil {
		var none T
		return none, err
	}
	return do(keys)
}
