package kubo

import "github.com/cairn-ipfs/cairn/internal/httpapi"

// verbs returns all verbs by path. Kubo's reference says what each does.
func verbs() map[string]verb {
	return map[string]verb{
		"version":  {run: (*call).version},
		"shutdown": {run: (*call).shutdown},

		"add":  {run: (*call).addMultipart, body: true},
		"cat":  {run: (*call).cat, least: 1, most: -1},
		"get":  {run: (*call).get, least: 1, most: 1},
		"ls":   {run: (*call).ls, least: 1, most: -1},
		"refs": {run: (*call).refs, least: 1, most: -1},

		"block/get":  {run: (*call).blockGet, least: 1, most: 1},
		"block/put":  {run: (*call).blockPut, body: true},
		"block/stat": {run: (*call).blockStat, least: 1, most: 1},
		"block/rm":   {run: (*call).blockRm, least: 1, most: -1},

		"dag/get":     {run: (*call).dagGet, least: 1, most: 1},
		"dag/put":     {run: (*call).dagPut, body: true},
		"dag/import":  {run: (*call).dagImport, body: true},
		"dag/export":  {run: (*call).dagExport, least: 1, most: 1},
		"dag/stat":    {run: (*call).dagStat, least: 1, most: -1},
		"dag/resolve": {run: (*call).dagResolve, least: 1, most: 1},
		"resolve":     {run: (*call).resolve, least: 1, most: 1},

		"cid/format": {run: (*call).cidFormat, least: 1, most: -1},
		"cid/base32": {run: (*call).cidBase32, least: 1, most: -1},
		"cid/codecs": {run: (*call).cidCodecs},

		"key/gen":    {run: (*call).keyGen, least: 1, most: 1},
		"key/list":   {run: (*call).keyList},
		"key/rename": {run: (*call).keyRename, least: 2, most: 2},
		"key/rm":     {run: (*call).keyRm, least: 1, most: -1},
		"key/export": {run: (*call).keyExport, least: 1, most: 1, scope: httpapi.SameMachine},
		"key/import": {run: (*call).keyImport, least: 1, most: 1, body: true, scope: httpapi.SameMachine},

		"name/publish": {run: (*call).namePublish, least: 1, most: 1},
		"name/resolve": {run: (*call).nameResolve, most: 1},
		"name/inspect": {run: (*call).nameInspect, body: true},
		"name/get":     {run: (*call).nameGet, least: 1, most: 1},
		"name/put":     {run: (*call).namePut, least: 1, most: 1, body: true},
		"dns":          {run: (*call).dns, least: 1, most: 1},

		"pin/add":    {run: (*call).pinAdd, least: 1, most: -1},
		"pin/ls":     {run: (*call).pinLs, most: -1},
		"pin/rm":     {run: (*call).pinRm, least: 1, most: -1},
		"pin/update": {run: (*call).pinUpdate, least: 2, most: 2},
		"pin/verify": {run: (*call).pinVerify},

		"repo/gc":      {run: (*call).repoGC},
		"repo/stat":    {run: (*call).repoStat},
		"repo/verify":  {run: (*call).repoVerify},
		"repo/version": {run: (*call).repoVersion},
		"refs/local":   {run: (*call).refsLocal},

		"id":                 {run: (*call).id, most: 1},
		"ping":               {run: (*call).ping, least: 1, most: 1},
		"swarm/peers":        {run: (*call).swarmPeers},
		"swarm/connect":      {run: (*call).swarmConnect, least: 1, most: -1},
		"swarm/disconnect":   {run: (*call).swarmDisconnect, least: 1, most: -1},
		"swarm/addrs":        {run: (*call).swarmAddrs},
		"swarm/addrs/local":  {run: (*call).swarmAddrsLocal},
		"swarm/addrs/listen": {run: (*call).swarmAddrsLocal},

		"routing/findprovs": {run: (*call).routingFindProvs, least: 1, most: 1},
		"routing/findpeer":  {run: (*call).routingFindPeer, least: 1, most: 1},
		"routing/query":     {run: (*call).routingQuery, least: 1, most: -1},
		"routing/provide":   {run: (*call).routingProvide, least: 1, most: -1},
		"routing/get":       {run: (*call).routingGet, least: 1, most: -1},
		"routing/put":       {run: (*call).routingPut, least: 1, most: 1, body: true},
		"stats/provide":     {run: (*call).statsProvide},
		"bootstrap":         {run: (*call).bootstrapList},
		"bootstrap/list":    {run: (*call).bootstrapList},
		"bootstrap/add":     {run: (*call).bootstrapEdit, most: -1},
		"bootstrap/rm":      {run: (*call).bootstrapEdit, most: -1},
	}
}
