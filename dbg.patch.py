p='controlplane/liveness/liveness.ts'
s=open(p).read()
s=s.replace("""  #step(peer: NodeId, event: Event): void {
""","""  #step(peer: NodeId, event: Event): void {
    if (process.env['DBG'] && event.type !== 'seen') console.log('DBG', new Date(this.#now()).toISOString().slice(14,23), this.self.slice(-6), peer.slice(-6), JSON.stringify(event), this.prober.isWatched(peer), JSON.stringify(this.#member(peer)));
""",1)
open(p,'w').write(s)
