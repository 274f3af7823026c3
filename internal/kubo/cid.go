package kubo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// A cidShape is a CID in another form.
type cidShape struct {
	CidStr    string
	Formatted string
	ErrorMsg  string
}

// cidFormat writes CIDs in another version, codec or base.
func (c *call) cidFormat() error {
	version, codec, base := c.Query.Get("v"), c.Query.Get("mc"), c.Query.Get("b")
	format := c.Text("f", "%s")
	return c.showCIDs(func(k cid.Cid) (string, error) {
		switch version {
		case "":
		case "0":
			if k.Type() != block.DagPB || k.Prefix().MhType != block.SHA2_256 || k.Prefix().MhLength != 32 {
				return "", fmt.Errorf("a CID of version 0 needs dag-pb and sha2-256")
			}
			k = cid.NewCidV0(k.Hash())
		case "1":
			k = block.V1(k)
		default:
			return "", fmt.Errorf("invalid version %.20q: want 0 or 1", version)
		}
		if codec != "" {
			var code multicodec.Code
			if err := code.Set(codec); err != nil {
				return "", err
			}
			k = cid.NewCidV1(uint64(code), k.Hash())
		}
		encoder := multibase.Encoder{}
		if base != "" {
			var err error
			if encoder, err = multibase.EncoderByName(base); err != nil {
				return "", err
			}
			if k.Version() == 0 && base != "base58btc" {
				k = block.V1(k)
			}
		}
		return formatCID(format, k, encoder, base != "")
	})
}

func (c *call) cidBase32() error {
	return c.showCIDs(func(k cid.Cid) (string, error) { return block.V1(k).StringOfBase(multibase.Base32) })
}

func (c *call) showCIDs(format func(cid.Cid) (string, error)) error {
	for _, arg := range c.Args {
		shape := cidShape{CidStr: arg}
		k, err := cid.Decode(strings.TrimPrefix(arg, "/ipfs/"))
		if err == nil {
			shape.Formatted, err = format(k)
		}
		if err != nil {
			shape.ErrorMsg = err.Error()
		}
		if err := c.Item(shape); err != nil {
			return err
		}
	}
	return nil
}

// formatCID formats a CID by a pattern such as "%b-%v-%c-%h-%L".
func formatCID(format string, k cid.Cid, base multibase.Encoder, inBase bool) (string, error) {
	text := k.String()
	if inBase && k.Version() > 0 {
		text = k.Encode(base)
	}
	if format == "%s" || format == "" {
		return text, nil
	}
	p := k.Prefix()
	mh, err := multihash.Decode(k.Hash())
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		switch format[i] {
		case '%':
			out.WriteByte('%')
		case 's':
			out.WriteString(text)
		case 'b':
			name := "base58btc"
			if p.Version > 0 {
				name = multibase.EncodingToStr[multibase.Encoding(text[0])]
			}
			out.WriteString(name)
		case 'v':
			fmt.Fprintf(&out, "cidv%d", p.Version)
		case 'V':
			fmt.Fprint(&out, p.Version)
		case 'c':
			out.WriteString(multicodec.Code(p.Codec).String())
		case 'C':
			fmt.Fprint(&out, p.Codec)
		case 'h':
			out.WriteString(multicodec.Code(p.MhType).String())
		case 'H':
			fmt.Fprint(&out, p.MhType)
		case 'L':
			fmt.Fprint(&out, mh.Length)
		case 'd':
			fmt.Fprintf(&out, "%x", mh.Digest)
		default:
			return "", fmt.Errorf("invalid pattern: unknown %%%c", format[i])
		}
		if out.Len() > httpapi.MaxQuery {
			return "", fmt.Errorf("the result has more than %d bytes", httpapi.MaxQuery)
		}
	}
	return out.String(), nil
}

// cidCodecs lists codecs: those of the table, or only those that nodes have here.
func (c *call) cidCodecs() error {
	supported := c.Flag("supported", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	type codecShape struct {
		Code uint64
		Name string
	}
	names := make(map[uint64]string)
	for _, k := range ipld.Codecs() {
		names[k.Code] = k.Name
	}
	if !supported {
		for _, code := range multicodec.KnownCodes() {
			if tag := code.Tag(); tag == "ipld" || tag == "serialization" {
				names[uint64(code)] = code.String()
			}
		}
	}
	all := []codecShape{}
	for code, name := range maps.All(names) {
		all = append(all, codecShape{code, name})
	}
	slices.SortFunc(all, func(a, b codecShape) int { return cmp.Compare(a.Code, b.Code) })
	return c.Value(all)
}
