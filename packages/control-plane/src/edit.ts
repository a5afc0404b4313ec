/** From an edit to the content it comes to. Whether that content is good is `validation.ts`. */
import { applyMergePatch, applyPatch, parsePointer, PatchError, share, type Json } from 'midflight'
import { covered, type PlacedIssue } from './marks.ts'
import { RefusedError, type Edit } from './release.ts'
import { invalid, marksOf, requireJson, type ContentLimits } from './validation.ts'

/** Whether what the edit comes to depends on what was there before. */
export function isPatch(edit: Edit): boolean {
  return !('content' in edit)
}

/** The edit by itself, as it is remembered to recognise it. @throws RefusedError if it says several things, or none. */
export function editValue(edit: Edit): Json {
  const parts = (['content', 'patch', 'mergePatch'] as const).filter((name) => name in edit)
  const [part] = parts
  if (part === undefined || parts.length > 1) {
    throw new RefusedError('invalid', `has ${parts.join(' and ') || 'no change'}; want content, patch or mergePatch`)
  }
  return { [part]: (edit as Record<string, Json>)[part] ?? null }
}

/**
 * The content after the edit: frozen, and sharing with `before` what did not change. What the edit holds is taken over.
 * @param schema of the config: says what is secret in what is refused.
 * @param before the content of the head; `undefined` if there is none yet.
 * @throws RefusedError if a patch does not fit, or the result is no JSON data within the limits.
 */
export async function edited(
  schema: Json | null,
  before: Json | undefined,
  edit: Edit,
  limits: ContentLimits,
): Promise<Json> {
  try {
    return applied(before, edit, limits)
  } catch (error) {
    if (!(error instanceof RefusedError) || error.issues.length === 0) throw error
    const marks = await marksOf(schema)
    throw invalid(error.issues.map((issue) => covered(marks, issue)))
  }
}

function applied(before: Json | undefined, edit: Edit, limits: ContentLimits): Json {
  if ('content' in edit) {
    requireJson(edit.content, before, limits)
    return share(edit.content, before, {})
  }
  if (before === undefined) {
    throw new RefusedError('invalid', 'is a patch, and there is nothing yet to patch; publish the whole first')
  }
  try {
    const after = 'patch' in edit ? applyPatch(before, edit.patch) : applyMergePatch(before, edit.mergePatch)
    requireJson(after, before, limits)
    return share(after, before, {})
  } catch (error) {
    if (!(error instanceof PatchError)) throw error
    throw invalid([patchIssue(error)])
  }
}

function patchIssue(error: PatchError): PlacedIssue {
  const path = error.pointer === '' || error.pointer.startsWith('/') ? parsePointer(error.pointer) : []
  return { code: 'schema', path, message: error.message }
}
