package history

// post sorts messages by target and peers by group, so that a check of many clients considers only related pairs.
// Messages are identified by number: peer.first + n.
type post struct {
	origin  []int32   // by message: the sender's position
	global  []int     // messages for all clients
	group   [][]int   // by number of the group: messages for all of it
	direct  [][]int   // by the receiver's position: messages for it alone
	members [][]int32 // by number of the group: its members' positions
	all     []int32   // positions of all peers
}

// sort fills c.post.
func (c *checker) sort() {
	b := post{
		origin: make([]int32, c.report.Messages), group: make([][]int, len(c.groups)), direct: make([][]int, len(c.peers)),
		members: make([][]int32, len(c.groups)),
	}
	for i, p := range c.peers {
		b.all = append(b.all, int32(i))
		for g, in := range p.member {
			if in {
				b.members[g] = append(b.members[g], int32(i))
			}
		}
		for n := range p.sends {
			number := p.first + n
			b.origin[number] = int32(i)
			switch to := c.refs[number]; {
			case to.target == Global:
				b.global = append(b.global, number)
			case to.target == Group && to.at >= 0:
				b.group[to.at] = append(b.group[to.at], number)
			case to.target == Direct && to.at >= 0:
				b.direct[to.at] = append(b.direct[to.at], number)
			}
		}
	}
	c.post = b
}

// each calls f with every message for the peer at position r, except ANY.
func (b *post) each(r int32, p *peer, f func(number int)) {
	for _, number := range b.global {
		f(number)
	}
	for g, in := range p.member {
		if !in {
			continue
		}
		for _, number := range b.group[g] {
			f(number)
		}
	}
	for _, number := range b.direct[r] {
		f(number)
	}
}

// positions returns the positions of the receivers that to names, regardless of when they were connected.
func (b *post) positions(to ref) []int32 {
	switch {
	case to.target == Global, to.target == Any && to.at == -1:
		return b.all
	case to.at < 0:
		return nil
	case to.target == Direct:
		return b.all[to.at : to.at+1]
	}
	return b.members[to.at]
}
