package cairn

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// maxDepth bounds how deep a value may be nested, so that one that contains
// itself is an error, and a hostile block can't exhaust the stack.
const maxDepth = 256

// Encode makes a block of a Go value: dag-cbor in its canonical form (IPLD
// specification, "DAG-CBOR"), so that equal values have equal CIDs.
//
// Structs and maps with string keys become maps; the fields of a struct are
// named by their tag `ipld:"name"`, or else as in Go, and left out with
// `ipld:"-"`, or when empty with `ipld:"name,omitempty"`; unexported fields are
// left out. Slices and arrays become lists, []byte and [n]byte bytes, a
// cid.Cid a link, a nil pointer, slice, map or interface null. Floats must be
// finite, strings valid UTF-8 (Decode takes others, too), a cid.Cid defined.
func Encode(v any) (block.Block, error) {
	n, err := toNode(reflect.ValueOf(v), 0)
	if err != nil {
		return block.Block{}, fmt.Errorf("cairn: encode %T: %w", v, err)
	}
	var out bytes.Buffer
	if err := dagcbor.Encode(n, &out); err != nil {
		return block.Block{}, fmt.Errorf("cairn: encode %T: %w", v, err)
	}
	b, err := block.New(block.DagCBOR, out.Bytes())
	if err != nil {
		return block.Block{}, fmt.Errorf("cairn: encode %T: %w", v, err)
	}
	return b, nil
}

// Decode is the reverse of Encode. Keys of a map for which a struct has no
// field are passed over; fields for which there is no key stay as they are in
// a zero T. Into an interface it puts map[string]any, []any, int64, uint64 (above
// what int64 holds), float64, string, []byte, bool, cid.Cid or nil. It fails with
// block.ErrMalformed if the block is no dag-cbor, and says where if a value
// doesn't fit.
func Decode[T any](b block.Block) (T, error) {
	var v T
	if codec := b.CID().Prefix().Codec; codec != block.DagCBOR {
		return v, fmt.Errorf("cairn: decode %s: %w: its codec is 0x%x, not dag-cbor", b.CID(), block.ErrMalformed, codec)
	}
	nb := basicnode.Prototype.Any.NewBuilder()
	if err := dagcbor.Decode(nb, bytes.NewReader(b.Data())); err != nil {
		return v, fmt.Errorf("cairn: decode %s: %w: %w", b.CID(), block.ErrMalformed, err)
	}
	if err := fromNode(nb.Build(), reflect.ValueOf(&v).Elem(), 0); err != nil {
		var zero T
		return zero, fmt.Errorf("cairn: decode %s into %T: %w", b.CID(), v, err)
	}
	return v, nil
}

var (
	cidType  = reflect.TypeFor[cid.Cid]()
	nodeType = reflect.TypeFor[datamodel.Node]()

	errDepth = errors.New("nested too deep")
)

// A field is an exported field of a struct as Encode and Decode see it.
type field struct {
	name      string
	index     int
	omitEmpty bool
}

func fieldsOf(t reflect.Type) ([]field, error) {
	var fields []field
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("ipld"), ",")
		if !f.IsExported() || name == "-" && options == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if seen[name] {
			return nil, fmt.Errorf("%s has two fields named %q", t, name)
		}
		seen[name] = true
		fields = append(fields, field{name, i, options == "omitempty"})
	}
	return fields, nil
}

func toNode(v reflect.Value, depth int) (datamodel.Node, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if !v.IsValid() {
		return datamodel.Null, nil
	}
	if v.Type() == cidType {
		c := v.Interface().(cid.Cid)
		if !c.Defined() {
			return nil, errors.New("an undefined CID")
		}
		return basicnode.NewLink(cidlink.Link{Cid: c}), nil
	}
	if v.Type().Implements(nodeType) && !(v.Kind() == reflect.Pointer && v.IsNil()) {
		return v.Interface().(datamodel.Node), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return basicnode.NewBool(v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return basicnode.NewInt(v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return basicnode.NewUint(v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%v is no number that dag-cbor has", f)
		}
		return basicnode.NewFloat(v.Float()), nil
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return nil, fmt.Errorf("the string %q is not UTF-8", v.String())
		}
		return basicnode.NewString(v.String()), nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return datamodel.Null, nil
		}
		return toNode(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		return toList(v, depth)
	case reflect.Map:
		return toMap(v, depth)
	case reflect.Struct:
		return toStruct(v, depth)
	}
	return nil, fmt.Errorf("dag-cbor has no form for %s", v.Type())
}

func toList(v reflect.Value, depth int) (datamodel.Node, error) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return datamodel.Null, nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		p := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(p), v)
		return basicnode.NewBytes(p), nil
	}
	nb := basicnode.Prototype.List.NewBuilder()
	l, err := nb.BeginList(int64(v.Len()))
	if err != nil {
		return nil, err
	}
	for i := range v.Len() {
		n, err := toNode(v.Index(i), depth+1)
		if err == nil {
			err = l.AssembleValue().AssignNode(n)
		}
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	if err := l.Finish(); err != nil {
		return nil, err
	}
	return nb.Build(), nil
}

func toMap(v reflect.Value, depth int) (datamodel.Node, error) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: the keys of a map must be strings", v.Type())
	}
	if v.IsNil() {
		return datamodel.Null, nil
	}
	return buildMap(v.Len(), func(entry func(string, reflect.Value) error) error {
		for it := v.MapRange(); it.Next(); {
			if err := entry(it.Key().String(), it.Value()); err != nil {
				return err
			}
		}
		return nil
	}, depth)
}

func toStruct(v reflect.Value, depth int) (datamodel.Node, error) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return nil, err
	}
	return buildMap(len(fields), func(entry func(string, reflect.Value) error) error {
		for _, f := range fields {
			if f.omitEmpty && v.Field(f.index).IsZero() {
				continue
			}
			if err := entry(f.name, v.Field(f.index)); err != nil {
				return err
			}
		}
		return nil
	}, depth)
}

func buildMap(size int, each func(entry func(string, reflect.Value) error) error, depth int) (datamodel.Node, error) {
	nb := basicnode.Prototype.Map.NewBuilder()
	m, err := nb.BeginMap(int64(size))
	if err != nil {
		return nil, err
	}
	err = each(func(key string, v reflect.Value) error {
		if !utf8.ValidString(key) {
			return fmt.Errorf("the key %q is not UTF-8", key)
		}
		n, err := toNode(v, depth+1)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		a, err := m.AssembleEntry(key)
		if err != nil {
			return err
		}
		return a.AssignNode(n)
	})
	if err == nil {
		err = m.Finish()
	}
	if err != nil {
		return nil, err
	}
	return nb.Build(), nil
}

func fromNode(n datamodel.Node, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(n))
		return nil
	}
	if v.Kind() == reflect.Interface && v.NumMethod() == 0 {
		got, err := natural(n, depth)
		if err == nil && got != nil {
			v.Set(reflect.ValueOf(got))
		}
		return err
	}
	if n.IsNull() {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			v.SetZero()
			return nil
		}
		return fmt.Errorf("null is no %s", v.Type())
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return fromNode(n, v.Elem(), depth+1)
	}
	if v.Type() == cidType {
		c, err := linkOf(n)
		if err == nil {
			v.Set(reflect.ValueOf(c))
		}
		return err
	}
	switch n.Kind() {
	case datamodel.Kind_Bool:
		if b, err := n.AsBool(); err == nil && v.Kind() == reflect.Bool {
			v.SetBool(b)
			return nil
		}
	case datamodel.Kind_Int:
		return fromInt(n, v)
	case datamodel.Kind_Float:
		if f, err := n.AsFloat(); err == nil && v.CanFloat() && !v.OverflowFloat(f) {
			v.SetFloat(f)
			return nil
		}
	case datamodel.Kind_String:
		if s, err := n.AsString(); err == nil && v.Kind() == reflect.String {
			v.SetString(s)
			return nil
		}
	case datamodel.Kind_Bytes:
		return fromBytes(n, v)
	case datamodel.Kind_List:
		return fromList(n, v, depth)
	case datamodel.Kind_Map:
		switch v.Kind() {
		case reflect.Map:
			return fromMap(n, v, depth)
		case reflect.Struct:
			return fromStruct(n, v, depth)
		}
	}
	return fmt.Errorf("%s doesn't fit into %s", n.Kind(), v.Type())
}

func linkOf(n datamodel.Node) (cid.Cid, error) {
	l, err := n.AsLink()
	if err != nil {
		return cid.Undef, err
	}
	c, ok := l.(cidlink.Link)
	if !ok {
		return cid.Undef, fmt.Errorf("%T is no CID", l)
	}
	return c.Cid, nil
}

func fromInt(n datamodel.Node, v reflect.Value) error {
	if u, ok := n.(datamodel.UintNode); ok {
		if x, err := u.AsUint(); err == nil && x > math.MaxInt64 {
			if v.CanUint() && !v.OverflowUint(x) {
				v.SetUint(x)
				return nil
			}
			return fmt.Errorf("%d doesn't fit into %s", x, v.Type())
		}
	}
	x, err := n.AsInt()
	switch {
	case err != nil:
		return err
	case v.CanInt() && !v.OverflowInt(x):
		v.SetInt(x)
	case v.CanUint() && x >= 0 && !v.OverflowUint(uint64(x)):
		v.SetUint(uint64(x))
	default:
		return fmt.Errorf("%d doesn't fit into %s", x, v.Type())
	}
	return nil
}

func fromBytes(n datamodel.Node, v reflect.Value) error {
	p, err := n.AsBytes()
	if err != nil {
		return err
	}
	if k := v.Kind(); k != reflect.Slice && k != reflect.Array || v.Type().Elem().Kind() != reflect.Uint8 {
		return fmt.Errorf("bytes don't fit into %s", v.Type())
	}
	if v.Kind() == reflect.Array {
		if len(p) != v.Len() {
			return fmt.Errorf("%d bytes don't fit into %s", len(p), v.Type())
		}
	} else {
		v.Set(reflect.MakeSlice(v.Type(), len(p), len(p)))
	}
	reflect.Copy(v, reflect.ValueOf(p))
	return nil
}

func fromList(n datamodel.Node, v reflect.Value, depth int) error {
	size := int(n.Length())
	switch {
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), size, size))
	case v.Kind() != reflect.Array || v.Len() != size:
		return fmt.Errorf("a list of %d doesn't fit into %s", size, v.Type())
	}
	for it := n.ListIterator(); !it.Done(); {
		i, item, err := it.Next()
		if err == nil {
			err = fromNode(item, v.Index(int(i)), depth+1)
		}
		if err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func fromMap(n datamodel.Node, v reflect.Value, depth int) error {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		return fmt.Errorf("%s: the keys of a map must be strings", t)
	}
	v.Set(reflect.MakeMapWithSize(t, int(n.Length())))
	return entries(n, func(key string, item datamodel.Node) error {
		value := reflect.New(t.Elem()).Elem()
		if err := fromNode(item, value, depth+1); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
		return nil
	})
}

func fromStruct(n datamodel.Node, v reflect.Value, depth int) error {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return err
	}
	at := make(map[string]int, len(fields))
	for _, f := range fields {
		at[f.name] = f.index
	}
	return entries(n, func(key string, item datamodel.Node) error {
		i, ok := at[key]
		if !ok {
			return nil
		}
		if err := fromNode(item, v.Field(i), depth+1); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
}

func entries(n datamodel.Node, f func(key string, item datamodel.Node) error) error {
	for it := n.MapIterator(); !it.Done(); {
		k, item, err := it.Next()
		if err != nil {
			return err
		}
		key, err := k.AsString()
		if err != nil {
			return err
		}
		if err := f(key, item); err != nil {
			return err
		}
	}
	return nil
}

// natural is what a value becomes for who has no type for it.
func natural(n datamodel.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch n.Kind() {
	case datamodel.Kind_Null:
		return nil, nil
	case datamodel.Kind_Bool:
		return n.AsBool()
	case datamodel.Kind_Int:
		if u, ok := n.(datamodel.UintNode); ok {
			if x, err := u.AsUint(); err == nil && x > math.MaxInt64 {
				return x, nil
			}
		}
		return n.AsInt()
	case datamodel.Kind_Float:
		return n.AsFloat()
	case datamodel.Kind_String:
		return n.AsString()
	case datamodel.Kind_Bytes:
		p, err := n.AsBytes()
		return append([]byte{}, p...), err
	case datamodel.Kind_Link:
		return linkOf(n)
	case datamodel.Kind_List:
		list := make([]any, n.Length())
		return list, fromList(n, reflect.ValueOf(&list).Elem(), depth)
	case datamodel.Kind_Map:
		m := map[string]any{}
		return m, fromMap(n, reflect.ValueOf(&m).Elem(), depth)
	}
	return nil, fmt.Errorf("a value of kind %s", n.Kind())
}
