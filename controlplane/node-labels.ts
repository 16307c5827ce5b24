import { ControlPlaneError, notManager } from './errors.ts';
import type { NodeId } from './ids.ts';
import type { HybridClock } from './tables/clock.ts';
import { maxLabels } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { View } from './tables/view.ts';

export type Labels = Readonly<Record<string, string>>;

export interface LabelChange {
  readonly add: Labels;
  /** Keys. */
  readonly remove: readonly string[];
}

export interface NodeLabelsInit {
  readonly tables: Pick<Tables, 'put'>;
  readonly view: View;
  readonly clock: HybridClock;
  readonly isManager: () => boolean;
}

/** What managers say of nodes, such as in which zone one is. */
export class NodeLabels {
  readonly #init: NodeLabelsInit;

  constructor(init: NodeLabelsInit) {
    this.#init = init;
  }

  /** What `update` would leave. @throws ControlPlaneError `not_manager`, `label_not_found`, `too_large` */
  preview(node: NodeId, { add, remove }: LabelChange): Labels {
    const { view, isManager } = this.#init;
    if (!isManager()) throw notManager('this node is not a manager, and only a manager can label nodes');
    const before = view.nodeLabels(node);
    const missing = remove.find((key) => !Object.hasOwn(before, key));
    if (missing !== undefined) {
      const keys = Object.keys(before).sort().join(', ');
      throw new ControlPlaneError(
        'label_not_found',
        `node ${view.nodes.get(node)?.hostname ?? node} has no label ${missing}`,
        keys === '' ? 'it has none at all' : `it has ${keys}`,
      );
    }
    // fromEntries makes `__proto__` a key like any other.
    const kept = Object.entries(before).filter(([key]) => !remove.includes(key));
    const labels = Object.fromEntries([...kept, ...Object.entries(add)]);
    const count = Object.keys(labels).length;
    if (count <= maxLabels) return labels;
    throw new ControlPlaneError(
      'too_large',
      `node ${view.nodes.get(node)?.hostname ?? node} would have ${count} labels; the limit is ${maxLabels}`,
      'take some away first: `weft node update --label-rm KEY NODE`',
    );
  }

  /** @returns false when the node has these labels already @throws ControlPlaneError as `preview` */
  async update(node: NodeId, change: LabelChange): Promise<boolean> {
    const labels = this.preview(node, change);
    const { tables, view, clock } = this.#init;
    const before = view.nodeLabelsRecord(node);
    if (textOf(before?.labels ?? {}) === textOf(labels)) return false;
    await tables.put(clusterTopic, `node-labels/${node}`, { stamp: [...clock.next(before?.stamp)], labels });
    return true;
  }
}

const textOf = (labels: Labels): string => JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
